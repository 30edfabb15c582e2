//! The Gemma 3 family, text only.
//!
//! Embeddings are scaled by `√d`. A layer is `x + norm(attention(norm(x)))`, then `x + norm(Wdown · (gelu(gate)
//! · up))` of the normed sum: four norms, each `x / rms(x) · (1 + w)`. Heads of queries and keys are normed
//! before the rotary embedding. Most layers attend to a window of the last keys and have their own rotary
//! base; every sixth attends to all keys, and its positions may be scaled. Scores are divided by the square
//! root of `query_pre_attn_scalar`, not of the head dimension.
//!
//! Checkpoints that read images too have the text's configuration under `text_config` and its weights under
//! `language_model`. GGUF stores norms with the 1 added; it is subtracted again. Source: `modeling_gemma3.py`
//! of transformers; GGUF as llama.cpp reads it.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::{Value, json};

use super::config_checks::{
    check_activation, check_layers, head_norm, hf_rope, refuse_biases, rope_to_json, split_qkv,
    unsupported,
};
use super::family::Family;
use super::gguf_checks::{check_metadata, rope_scaling_from_gguf};
use crate::attention::{Attend, AttentionShape};
use crate::decoder::interface::Decoder;
use crate::decoder::layer_vectors::layer_vectors;
use crate::decoder::rope_config::{RopeConfig, RopeScaling};
use crate::decoder::sizes::{SizeDefaults, Sizes};
use crate::decoder::stack::{Layer, Layers, Stack};
use crate::format::{GgufFile, GgufNames, GgufValue, HfWeights, JsonFile, WeightSource};
use crate::ops::{Activation, RopeAngles, add, gated, rope};
use crate::{Device, Error, ops};

/// The family's entry in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemma3Family;

/// A Gemma 3 model.
pub(crate) type Gemma3 = Stack<Gemma3Config>;

/// Configuration of a Gemma 3 model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gemma3Config {
    /// The sizes.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Rotary embedding of layers without a window.
    pub global_rope: RopeConfig,
    /// Rotary embedding of layers with a window.
    pub local_rope: RopeConfig,
    /// The number of last keys that a token attends to in layers with a window, its own included.
    pub window: usize,
    /// True for layers with a window.
    pub is_local: Vec<bool>,
    /// The scalar whose square root divides the scores.
    pub query_scalar: f64,
    /// The bound of logits.
    pub logit_cap: Option<f64>,
    /// True if the embedding is also the output matrix.
    pub tied_embeddings: bool,
}

const NAME: &str = "gemma3";
const HINT: &str = "this family implements the text layers of Gemma 3";
/// Defaults of transformers' `Gemma3TextConfig`; published files omit equal values.
const DEFAULTS: SizeDefaults = SizeDefaults {
    vocab_size: Some(262_208),
    num_heads: Some(8),
    num_kv_heads: Some(4),
    head_dim: Some(256),
    context_length: Some(131_072),
    norm_eps: 1e-6,
};
const QUERY_SCALAR: f64 = 256.0;
const WINDOW: usize = 4096;
const GLOBAL_THETA: f64 = 1_000_000.0;
const LOCAL_THETA: f64 = 10_000.0;
/// Every layer of this period has no window.
const PATTERN: usize = 6;

fn by_pattern(num_layers: usize, pattern: usize) -> Vec<bool> {
    (1..=num_layers).map(|layer| !layer.is_multiple_of(pattern.max(1))).collect()
}

impl Gemma3Config {
    /// Reads `config.json` as transformers 4 and 5 write it, of the text model or of a model that
    /// contains it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for missing keys, [`Error::Unsupported`] for features that are not implemented.
    pub fn from_json(config: &JsonFile) -> Result<Self, Error> {
        let text = config.part("text_config");
        let config = text.as_ref().unwrap_or(config);
        refuse_biases(config, &["attention_bias"], HINT)?;
        check_activation(config, "hidden_activation", "gelu_pytorch_tanh", HINT)?;
        check_layers(config, &["full_attention", "sliding_attention"], HINT)?;
        if let Some(found) = config.get("attn_logit_softcapping") {
            let (what, allowed) = ("a bound of attention scores of", "none");
            return Err(unsupported(config.path(), what, &found.to_string(), allowed, HINT));
        }
        if config.boolean("use_bidirectional_attention")?.unwrap_or(false) {
            let (found, allowed) = ("`use_bidirectional_attention`", "causal attention");
            return Err(unsupported(config.path(), "the attention", found, allowed, HINT));
        }
        let sizes = Sizes::from_json(config, DEFAULTS)?;
        let (global_rope, local_rope) = ropes_from_json(config)?;
        Ok(Self {
            global_rope,
            local_rope,
            window: config.integer("sliding_window")?.unwrap_or(WINDOW),
            is_local: local_layers(config, sizes.num_layers)?,
            query_scalar: config.float("query_pre_attn_scalar")?.unwrap_or(QUERY_SCALAR),
            logit_cap: config.float("final_logit_softcapping")?,
            tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(true),
            sizes,
        })
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// See [`Self::from_json`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let sizes = Sizes::from_gguf(file, NAME, DEFAULTS)?;
        check_metadata(file, NAME, &sizes, GGUF_KEYS, HINT)?;
        let scaling = rope_scaling_from_gguf(file, NAME, HINT)?;
        let theta = file.float("gemma3.rope.freq_base")?.unwrap_or(GLOBAL_THETA);
        let local_theta = file.float("gemma3.rope.freq_base_swa")?.unwrap_or(LOCAL_THETA);
        // The largest model divides by the hidden size per head and not by the head dimension. Files
        // don't say so; the model is recognised by its number of layers.
        let query_scalar = match sizes.num_layers {
            62 => sizes.hidden_size as f64 / sizes.num_heads as f64,
            _ => sizes.head_dim as f64,
        };
        Ok(Self {
            global_rope: RopeConfig { theta, scaling },
            local_rope: RopeConfig { theta: local_theta, scaling: RopeScaling::None },
            window: file.integer("gemma3.attention.sliding_window")?.unwrap_or(WINDOW),
            is_local: local_layers_from_gguf(file, sizes.num_layers)?,
            query_scalar,
            logit_cap: file.float("gemma3.final_logit_softcapping")?,
            tied_embeddings: !file.contains("output.weight"),
            sizes,
        })
    }
}

/// Reads the rotary embeddings of layers without and with a window. Version 5 of transformers stores them
/// under `rope_parameters` by kind of layer; version 4 stores them separately, with a scaling of the first
/// only.
fn ropes_from_json(config: &JsonFile) -> Result<(RopeConfig, RopeConfig), Error> {
    let of_kind = |table: &str, default: f64| -> Result<RopeConfig, Error> {
        let theta = config.float(&format!("{table}.rope_theta"))?.unwrap_or(default);
        Ok(RopeConfig { theta, scaling: hf_rope(config, table, HINT)? })
    };
    if config.get("rope_parameters").is_some() {
        let global = of_kind("rope_parameters.full_attention", GLOBAL_THETA)?;
        return Ok((global, of_kind("rope_parameters.sliding_attention", LOCAL_THETA)?));
    }
    let theta = config.float("rope_theta")?.unwrap_or(GLOBAL_THETA);
    let local_theta = config.float("rope_local_base_freq")?.unwrap_or(LOCAL_THETA);
    Ok((
        RopeConfig { theta, scaling: hf_rope(config, "rope_scaling", HINT)? },
        RopeConfig { theta: local_theta, scaling: RopeScaling::None },
    ))
}

/// Reads which layers have a window: listed in `layer_types`, or by a pattern.
fn local_layers(config: &JsonFile, num_layers: usize) -> Result<Vec<bool>, Error> {
    let Some(kinds) = config.get("layer_types") else {
        let pattern = match config.integer("sliding_window_pattern")? {
            Some(pattern) => Some(pattern),
            None => config.integer("_sliding_window_pattern")?,
        };
        return Ok(by_pattern(num_layers, pattern.unwrap_or(PATTERN)));
    };
    let expected = "`sliding_attention` or `full_attention` for each layer";
    let wrong = || config.config_error("layer_types", &kinds.to_string(), expected);
    let kinds = kinds.as_array().filter(|kinds| kinds.len() == num_layers).ok_or_else(wrong)?;
    let is_local = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(wrong()),
    };
    kinds.iter().map(is_local).collect()
}

/// Rotary angles of both kinds of layers.
#[derive(Clone, Debug)]
pub struct Gemma3Angles {
    global: RopeAngles,
    local: RopeAngles,
}

layer_vectors! {
    /// The norms of a Gemma 3 layer.
    pub struct Gemma3Vectors {
        input: Hidden("input_layernorm.weight", BeforeQkv),
        query: Head("self_attn.q_norm.weight", BeforeOutput),
        key: Head("self_attn.k_norm.weight", BeforeOutput),
        post_attention: Hidden("post_attention_layernorm.weight", BeforeGateUp),
        pre_feedforward: Hidden("pre_feedforward_layernorm.weight", BeforeGateUp),
        post_feedforward: Hidden("post_feedforward_layernorm.weight", AfterDown),
    }
}

impl Layers for Gemma3Config {
    type Positions = Gemma3Angles;

    type Vectors = Gemma3Vectors;

    fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    fn has_tied_embeddings(&self) -> bool {
        self.tied_embeddings
    }

    fn positions(&self, positions: &[u32], device: &burn::tensor::Device) -> Gemma3Angles {
        let angles = |rope: &RopeConfig| {
            RopeAngles::new(positions, &rope.frequencies(self.sizes.head_dim), device)
        };
        Gemma3Angles { global: angles(&self.global_rope), local: angles(&self.local_rope) }
    }

    fn embedded(&self, x_rd: Tensor<2>) -> Tensor<2> {
        x_rd * (self.sizes.hidden_size as f64).sqrt()
    }

    fn forward(
        &self,
        layer: &Layer<Gemma3Vectors>,
        index: usize,
        x_rd: Tensor<2>,
        angles: &Gemma3Angles,
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let Layer { products, vectors } = layer;
        let (angles, window) = if self.is_local[index] {
            (&angles.local, Some(self.window))
        } else {
            (&angles.global, None)
        };
        let shape = AttentionShape {
            num_heads: self.sizes.num_heads,
            num_kv_heads: self.sizes.num_kv_heads,
            head_dim: self.sizes.head_dim,
            scale: (1.0 / self.query_scalar.sqrt()) as f32,
            window,
        };
        let [q, k, v] = split_qkv(self, products, &self.norm(&x_rd, &vectors.input));
        let q = rope(&head_norm(self, q, &vectors.query), angles);
        let k = rope(&head_norm(self, k, &vectors.key), angles);
        let mixed = products.output.forward(&attend.attend(index, &shape, &q, &k, &v));
        let x_rd = add(x_rd, self.norm(&mixed, &vectors.post_attention));
        let normed = self.norm(&x_rd, &vectors.pre_feedforward);
        let activated = gated(&products.gate_up.forward(&normed), Activation::GeluTanh);
        add(x_rd, self.norm(&products.down.forward(&activated), &vectors.post_feedforward))
    }

    fn norm(&self, x_rd: &Tensor<2>, weight_d: &Tensor<1>) -> Tensor<2> {
        ops::rms_norm(x_rd, &(weight_d.clone() + 1.0), self.sizes.norm_eps)
    }

    fn logit_cap(&self) -> Option<f64> {
        self.logit_cap
    }

    fn hf_config(&self) -> Option<Value> {
        let rope = |rope: &RopeConfig| rope_to_json(rope);
        let kind = |is_local: &bool| {
            if *is_local { "sliding_attention" } else { "full_attention" }
        };
        let mut config = self.sizes.hf_config();
        config["architectures"] = json!(["Gemma3ForCausalLM"]);
        config["model_type"] = json!("gemma3_text");
        config["rope_parameters"] = json!({
            "full_attention": rope(&self.global_rope)?,
            "sliding_attention": rope(&self.local_rope)?,
        });
        config["layer_types"] = json!(self.is_local.iter().map(kind).collect::<Vec<_>>());
        config["sliding_window"] = json!(self.window);
        config["query_pre_attn_scalar"] = match self.query_scalar.fract() {
            0.0 => json!(self.query_scalar as u64),
            _ => json!(self.query_scalar),
        };
        config["final_logit_softcapping"] = json!(self.logit_cap);
        config["attn_logit_softcapping"] = Value::Null;
        config["tie_word_embeddings"] = json!(self.tied_embeddings);
        config["hidden_activation"] = json!("gelu_pytorch_tanh");
        Some(config)
    }
}

/// Metadata keys of this family.
const GGUF_KEYS: &[&str] = &[
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
    "final_logit_softcapping",
];

/// Reads which layers have a window: by a pattern, or listed layer by layer.
fn local_layers_from_gguf(file: &GgufFile, num_layers: usize) -> Result<Vec<bool>, Error> {
    let key = "gemma3.attention.sliding_window_pattern";
    let Some(GgufValue::List(kinds)) = file.value(key) else {
        return Ok(by_pattern(num_layers, file.integer(key)?.unwrap_or(PATTERN)));
    };
    let is_local = |kind: &GgufValue| match kind {
        GgufValue::Bool(is_local) => Some(*is_local),
        _ => None,
    };
    let kinds: Option<Vec<bool>> = kinds.iter().map(is_local).collect();
    kinds.filter(|kinds| kinds.len() == num_layers).ok_or_else(|| {
        file.config_error(key, "another list", "a number, or true or false for each layer")
    })
}

/// Parts of layers whose names differ in GGUF.
const GGUF_NAMES: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// GGUF weights, with norms as in checkpoints.
struct ShiftedNorms<'a>(GgufNames<'a>);

impl WeightSource for ShiftedNorms<'_> {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let mut data = self.0.read(name, shape)?;
        if name.ends_with("norm.weight") {
            data.iter_mut().for_each(|weight| *weight -= 1.0);
        }
        Ok(data)
    }

    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        self.0.first_unread(read)
    }
}

/// Weights of the text part of a larger checkpoint.
struct TextPart<'a>(&'a HfWeights);

impl TextPart<'_> {
    /// Returns the checkpoint's name of a weight of the text model.
    fn name(&self, name: &str) -> String {
        let rest = name.strip_prefix("model.").unwrap_or(name);
        let candidates = [
            name.to_owned(),
            format!("language_model.{name}"),
            format!("model.language_model.{rest}"),
        ];
        let [plain, ..] = &candidates;
        candidates.iter().find(|name| self.0.contains(name)).unwrap_or(plain).clone()
    }
}

impl WeightSource for TextPart<'_> {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(&self.name(name))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.0.read(&self.name(name), shape)
    }

    /// Ignores the tensors that read images.
    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        let sees_images = |name: &str| {
            let name = name.strip_prefix("model.").unwrap_or(name);
            ["vision_tower.", "multi_modal_projector."].iter().any(|part| name.starts_with(part))
        };
        let read = read.iter().map(|name| self.name(name));
        let others = self.0.names().filter(|name| sees_images(name)).map(str::to_owned);
        self.0.first_unread(&read.chain(others).collect())
    }
}

impl Family for Gemma3Family {
    fn name(&self) -> &'static str {
        NAME
    }

    fn other_names(&self) -> &'static [&'static str] {
        &["gemma3_text"]
    }

    fn summary(&self) -> &'static str {
        "Gemma 3, text"
    }

    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error> {
        let config = Gemma3Config::from_json(config)?;
        Ok(Box::new(Gemma3::load(config, &TextPart(weights), device)?))
    }

    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error> {
        let weights = ShiftedNorms(GgufNames::new(file, GGUF_NAMES));
        Ok(Box::new(Gemma3::load(Gemma3Config::from_gguf(file)?, &weights, device)?))
    }
}
