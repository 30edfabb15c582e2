//! The Qwen 2 family: Qwen 2 and 2.5, with and without Coder or Math.
//!
//! A layer is Llama's, but queries, keys and values have a bias, added before the rotary embedding. The
//! output of attention and the feed-forward products have none. Source: `modeling_qwen2.py` of
//! transformers.

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::{Value, json};

use super::config_checks::{
    check_activation, check_layers, plain_attention, refuse_sliding_window, rope_from_json,
    rope_to_json, split_qkv,
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
use crate::ops::{Activation, RopeAngles, add, add_bias, gated, rope};
use crate::{Device, Error};

/// The family's entry in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Qwen2Family;

/// A Qwen 2 model.
pub(crate) type Qwen2 = Stack<Qwen2Config>;

/// Configuration of a Qwen 2 model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Qwen2Config {
    /// The sizes.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// True if the embedding is also the output matrix.
    pub tied_embeddings: bool,
}

const NAME: &str = "qwen2";
const HINT: &str = "this family implements the layers of Qwen 2 and 2.5";
const DEFAULTS: SizeDefaults = SizeDefaults::norm_eps(1e-6);

impl Qwen2Config {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for missing keys, [`Error::Unsupported`] for features that are not implemented.
    pub fn from_json(config: &JsonFile) -> Result<Self, Error> {
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
        let theta = file.float("qwen2.rope.freq_base")?.unwrap_or(10_000.0);
        Ok(Self {
            sizes,
            rope: RopeConfig { theta, scaling },
            tied_embeddings: !file.contains("output.weight"),
        })
    }
}

layer_vectors! {
    /// The norms and biases of a Qwen 2 layer.
    pub struct Qwen2Vectors {
        input: Hidden("input_layernorm.weight", BeforeQkv),
        query_bias: Queries("self_attn.q_proj.bias", BeforeOutput),
        key_bias: Keys("self_attn.k_proj.bias", BeforeOutput),
        value_bias: Keys("self_attn.v_proj.bias", BeforeOutput),
        post_attention: Hidden("post_attention_layernorm.weight", BeforeGateUp),
    }
}

impl Layers for Qwen2Config {
    type Positions = RopeAngles;

    type Vectors = Qwen2Vectors;

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
        layer: &Layer<Qwen2Vectors>,
        index: usize,
        x_rd: Tensor<2>,
        angles: &RopeAngles,
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let Layer { products, vectors } = layer;
        let [q, k, v] = split_qkv(self, products, &self.norm(&x_rd, &vectors.input));
        let q = rope(&add_bias(q, &vectors.query_bias), angles);
        let k = rope(&add_bias(k, &vectors.key_bias), angles);
        let v = add_bias(v, &vectors.value_bias);
        let mixed = attend.attend(index, &plain_attention(&self.sizes), &q, &k, &v);
        let x_rd = add(x_rd, products.output.forward(&mixed));
        let normed = self.norm(&x_rd, &vectors.post_attention);
        let activated = gated(&products.gate_up.forward(&normed), Activation::Silu);
        add(x_rd, products.down.forward(&activated))
    }

    fn hf_config(&self) -> Option<Value> {
        let mut config = self.sizes.hf_config();
        config["architectures"] = json!(["Qwen2ForCausalLM"]);
        config["model_type"] = json!(NAME);
        config["rope_parameters"] = rope_to_json(&self.rope)?;
        config["tie_word_embeddings"] = json!(self.tied_embeddings);
        config["hidden_act"] = json!("silu");
        config["use_sliding_window"] = json!(false);
        Some(config)
    }
}

/// Parts of layers whose names differ in GGUF.
const GGUF_NAMES: &[(&str, &str)] =
    &[("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")];

impl Family for Qwen2Family {
    fn name(&self) -> &'static str {
        NAME
    }

    fn summary(&self) -> &'static str {
        "Qwen 2 and 2.5"
    }

    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error> {
        Ok(Box::new(Qwen2::load(Qwen2Config::from_json(config)?, weights, device)?))
    }

    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error> {
        let config = Qwen2Config::from_gguf(file)?;
        Ok(Box::new(Qwen2::load(config, &GgufNames::new(file, GGUF_NAMES), device)?))
    }
}
