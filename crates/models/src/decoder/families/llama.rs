//! The Llama family: Llama 2 and 3, SmolLM2, Mistral without a sliding window, and others with the same layers.
//!
//! A layer is `x + Wo · attention(rope(Wqkv · norm(x)))`, then `x + Wdown · (silu(gate) · up)` of
//! the normed sum, where `gate` and `up` are one product. Norms are root-mean-square, the rotary
//! embedding rotates the two halves of a head (the Hugging Face layout), and key heads are shared by
//! groups of query heads. GGUF stores the rows of q and k as interleaved pairs; they are reordered.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::{Value, json};

use super::config_checks::{
    check_activation, check_layers, plain_attention, refuse_biases, rope_from_json, rope_to_json,
    split_qkv, unsupported,
};
use super::family::Family;
use super::gguf_checks::{check_metadata, rope_scaling_from_gguf};
use crate::attention::Attend;
use crate::decoder::interface::Decoder;
use crate::decoder::layer_vectors::layer_vectors;
use crate::decoder::rope_config::{RopeConfig, RopeScaling};
use crate::decoder::sizes::{SizeDefaults, Sizes};
use crate::decoder::stack::{Layer, Layers, Stack};
use crate::format::{GgufFile, GgufNames, HfWeights, JsonFile, WeightSource};
use crate::ops::{Activation, RopeAngles, add, gated, rope};
use crate::{Device, Error};

/// The family's entry in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LlamaFamily;

/// A Llama model.
pub(crate) type Llama = Stack<LlamaConfig>;

/// Configuration of a Llama model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LlamaConfig {
    /// The sizes.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// True if the embedding is also the output matrix.
    pub tied_embeddings: bool,
}

const HINT: &str = "this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral";
const MISTRAL: &str = "mistral";
const ROPE_DIVISORS: &str = "rope_freqs.weight";

impl LlamaConfig {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for missing keys, [`Error::Unsupported`] for features that are not implemented.
    pub fn from_json(config: &JsonFile) -> Result<Self, Error> {
        refuse_biases(config, &["attention_bias", "mlp_bias"], HINT)?;
        check_activation(config, "hidden_act", "silu", HINT)?;
        check_layers(config, &["full_attention"], HINT)?;
        // A Mistral model has a window unless its configuration says `null`.
        let is_windowed = config.get("sliding_window").is_some() || !config.has("sliding_window");
        if config.text("model_type")? == Some(MISTRAL) && is_windowed {
            let (found, allowed) = ("sliding_window", "attention to all previous tokens");
            return Err(unsupported(config.path(), "the attention", found, allowed, HINT));
        }
        Ok(Self {
            sizes: Sizes::from_json(config, SizeDefaults::norm_eps(1e-6))?,
            rope: rope_from_json(config, 10_000.0, HINT)?,
            tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        })
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// See [`Self::from_json`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let sizes = Sizes::from_gguf(file, "llama", SizeDefaults::norm_eps(1e-5))?;
        check_metadata(file, "llama", &sizes, &[], HINT)?;
        let mut scaling = rope_scaling_from_gguf(file, "llama", HINT)?;
        if file.contains(ROPE_DIVISORS) {
            if scaling != RopeScaling::None {
                let (what, found) = ("a rope scaling factor together with", ROPE_DIVISORS);
                return Err(unsupported(file.path(), what, found, "one of both", HINT));
            }
            scaling = RopeScaling::Divisors(file.read(ROPE_DIVISORS, &[sizes.head_dim / 2])?);
        }
        let theta = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
        let tied_embeddings = !file.contains("output.weight");
        Ok(Self { sizes, rope: RopeConfig { theta, scaling }, tied_embeddings })
    }
}

layer_vectors! {
    /// The norms of a Llama layer.
    pub struct LlamaVectors {
        input: Hidden("input_layernorm.weight", BeforeQkv),
        post_attention: Hidden("post_attention_layernorm.weight", BeforeGateUp),
    }
}

impl Layers for LlamaConfig {
    type Positions = RopeAngles;

    type Vectors = LlamaVectors;

    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn has_tied_embeddings(&self) -> bool {
        self.tied_embeddings
    }

    fn positions(&self, positions: &[u32], device: &burn::tensor::Device) -> RopeAngles {
        RopeAngles::new(positions, &self.rope.frequencies(self.sizes.head_dim), device)
    }

    fn forward(
        &self,
        layer: &Layer<LlamaVectors>,
        index: usize,
        x_rd: Tensor<2>,
        angles: &RopeAngles,
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let Layer { products, vectors } = layer;
        let [q, k, v] = split_qkv(self, products, &self.norm(&x_rd, &vectors.input));
        let shape = plain_attention(&self.sizes);
        let mixed = attend.attend(index, &shape, &rope(&q, angles), &rope(&k, angles), &v);
        let x_rd = add(x_rd, products.output.forward(&mixed));
        let normed = self.norm(&x_rd, &vectors.post_attention);
        let activated = gated(&products.gate_up.forward(&normed), Activation::Silu);
        add(x_rd, products.down.forward(&activated))
    }

    fn hf_config(&self) -> Option<Value> {
        let mut config = self.sizes.hf_config();
        config["architectures"] = json!(["LlamaForCausalLM"]);
        config["model_type"] = json!("llama");
        config["rope_parameters"] = rope_to_json(&self.rope)?;
        config["tie_word_embeddings"] = json!(self.tied_embeddings);
        config["hidden_act"] = json!("silu");
        config["mlp_bias"] = json!(false);
        Some(config)
    }
}

impl Family for LlamaFamily {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn other_names(&self) -> &'static [&'static str] {
        &[MISTRAL]
    }

    fn summary(&self) -> &'static str {
        "Llama 2 and 3 (with Llama 3.1's rope scaling), SmolLM2, Mistral without a sliding window"
    }

    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error> {
        Ok(Box::new(Llama::load(LlamaConfig::from_json(config)?, weights, device)?))
    }

    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error> {
        let config = LlamaConfig::from_gguf(file)?;
        let head_dim = config.sizes.head_dim;
        let weights = InterleavedRows { names: GgufNames::new(file, NAMES), head_dim };
        Ok(Box::new(Llama::load(config, &weights, device)?))
    }
}

/// Parts of layers whose names differ in GGUF.
const NAMES: &[(&str, &str)] =
    &[("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

/// GGUF weights whose rows of queries and keys are interleaved pairs.
struct InterleavedRows<'a> {
    names: GgufNames<'a>,
    head_dim: usize,
}

impl WeightSource for InterleavedRows<'_> {
    fn path(&self) -> &Path {
        self.names.path()
    }

    fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let data = self.names.read(name, shape)?;
        let is_rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        Ok(if is_rotated { half_split_rows(&data, shape[1], self.head_dim) } else { data })
    }

    /// Counts the rotary divisors as read: the configuration has them.
    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        let mut read = read.clone();
        read.insert(ROPE_DIVISORS.to_owned());
        self.names.first_unread(&read)
    }
}

/// Row `2 i + s` of each head, the pair order of GGUF, becomes row `s · head_dim / 2 + i`.
fn half_split_rows(data: &[f32], inner: usize, head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(head_dim * inner) {
        for row in 0..head_dim {
            let from = 2 * (row % half) + row / half;
            out.extend_from_slice(&head[from * inner..][..inner]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_rows_become_halves() {
        // One head of 4 rows and one column; pairs (0, 2) and (1, 3) of the half-split layout.
        assert_eq!(half_split_rows(&[0.0, 2.0, 1.0, 3.0], 1, 4), [0.0, 1.0, 2.0, 3.0]);
    }
}
