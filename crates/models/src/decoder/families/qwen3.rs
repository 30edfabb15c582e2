//! The Qwen 3 family (dense): Llama's layers with norms of each query and key head.
//!
//! A layer is Llama's, but every head of the queries and of the keys is normed before the rotary embedding.
//! Source: `modeling_qwen3.py` of transformers.

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::{Value, json};

use super::config_checks::{
    check_activation, check_layers, head_norm, plain_attention, refuse_biases,
    refuse_sliding_window, rope_from_json, rope_to_json, split_qkv,
};
use super::family::Family;
use super::gguf_checks::{check_metadata, rope_scaling_from_gguf};
use crate::attention::Attend;
use crate::decoder::interface::Decoder;
use crate::decoder::layer_vectors::layer_vectors;
use crate::decoder::rope_config::RopeConfig;
use crate::decoder::sizes::{SizeDefaults, Sizes};
use crate::decoder::stack::{Layer, Layers, Stack};
use crate::format::{GgufFile, GgufNames, HfWeights, JsonFile, WeightSource as _};
use crate::ops::{Activation, RopeAngles, add, gated, rope};
use crate::{Device, Error};

/// The family's entry in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Qwen3Family;

/// A Qwen 3 model.
pub(crate) type Qwen3 = Stack<Qwen3Config>;

/// Configuration of a Qwen 3 model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Qwen3Config {
    /// The sizes.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// True if the embedding is also the output matrix.
    pub tied_embeddings: bool,
}

const NAME: &str = "qwen3";
const HINT: &str = "this family implements the dense layers of Qwen 3";
const DEFAULTS: SizeDefaults = SizeDefaults { head_dim: Some(128), ..SizeDefaults::norm_eps(1e-6) };

impl Qwen3Config {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for missing keys, [`Error::Unsupported`] for features that are not implemented.
    pub fn from_json(config: &JsonFile) -> Result<Self, Error> {
        refuse_biases(config, &["attention_bias"], HINT)?;
        check_activation(config, "hidden_act", "silu", HINT)?;
        check_layers(config, &["full_attention"], HINT)?;
        refuse_sliding_window(config, HINT)?;
        Ok(Self {
            sizes: Sizes::from_json(config, DEFAULTS)?,
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
        let sizes = Sizes::from_gguf(file, NAME, DEFAULTS)?;
        check_metadata(file, NAME, &sizes, &[], HINT)?;
        let scaling = rope_scaling_from_gguf(file, NAME, HINT)?;
        let theta = file.float("qwen3.rope.freq_base")?.unwrap_or(1_000_000.0);
        Ok(Self {
            sizes,
            rope: RopeConfig { theta, scaling },
            tied_embeddings: !file.contains("output.weight"),
        })
    }
}

layer_vectors! {
    /// The norms of a Qwen 3 layer.
    pub struct Qwen3Vectors {
        input: Hidden("input_layernorm.weight", BeforeQkv),
        query: Head("self_attn.q_norm.weight", BeforeOutput),
        key: Head("self_attn.k_norm.weight", BeforeOutput),
        post_attention: Hidden("post_attention_layernorm.weight", BeforeGateUp),
    }
}

impl Layers for Qwen3Config {
    type Positions = RopeAngles;

    type Vectors = Qwen3Vectors;

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
        layer: &Layer<Qwen3Vectors>,
        index: usize,
        x_rd: Tensor<2>,
        angles: &RopeAngles,
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let Layer { products, vectors } = layer;
        let [q, k, v] = split_qkv(self, products, &self.norm(&x_rd, &vectors.input));
        let q = rope(&head_norm(self, q, &vectors.query), angles);
        let k = rope(&head_norm(self, k, &vectors.key), angles);
        let mixed = attend.attend(index, &plain_attention(&self.sizes), &q, &k, &v);
        let x_rd = add(x_rd, products.output.forward(&mixed));
        let normed = self.norm(&x_rd, &vectors.post_attention);
        let activated = gated(&products.gate_up.forward(&normed), Activation::Silu);
        add(x_rd, products.down.forward(&activated))
    }

    fn hf_config(&self) -> Option<Value> {
        let mut config = self.sizes.hf_config();
        config["architectures"] = json!(["Qwen3ForCausalLM"]);
        config["model_type"] = json!(NAME);
        config["rope_parameters"] = rope_to_json(&self.rope)?;
        config["tie_word_embeddings"] = json!(self.tied_embeddings);
        config["hidden_act"] = json!("silu");
        config["use_sliding_window"] = json!(false);
        Some(config)
    }
}

/// Parts of layers whose names differ in GGUF.
const GGUF_NAMES: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];

impl Family for Qwen3Family {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "Qwen 3, dense"
    }

    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error> {
        Ok(Box::new(Qwen3::load(Qwen3Config::from_json(config)?, weights, device)?))
    }

    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error> {
        let config = Qwen3Config::from_gguf(file)?;
        Ok(Box::new(Qwen3::load(config, &GgufNames::new(file, GGUF_NAMES), device)?))
    }
}
