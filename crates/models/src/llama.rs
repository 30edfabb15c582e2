//! The Llama family: Llama 2 and 3, SmolLM2 and what shares their layers.
//!
//! A layer is `x + Wo · attention(rope(Wqkv · norm(x)))`, then `x + Wdown · (silu(gate) · up)` of
//! the normed sum, where `gate` and `up` are one product. Norms are root-mean-square, the rotary
//! embedding turns the two halves of a head (the Hugging Face layout), key heads are shared by
//! groups of query heads. GGUF stores the rows of q and k for interleaved pairs; they are put back.
//!
//! Shapes: `r` rows, `d` hidden size, `h` head dimension, `v` vocabulary.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::attention::{Attend, AttentionShape};
use crate::decoder::{Decoder, DecoderSpec, WeightMut};
use crate::device::Device;
use crate::families::Family;
use crate::gguf::GgufFile;
use crate::hf_folder::{HfWeights, JsonFile};
use crate::ops::{self, Linear, RopeAngles, add, rms_norm, rope, silu_mul};
use crate::rope_frequencies::{RopeConfig, RopeScaling};
use crate::weights::WeightSource;

/// The family's entry in the list.
#[derive(Clone, Copy, Debug)]
pub struct LlamaFamily;

/// What shapes a Llama model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LlamaConfig {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Numbers of a hidden state.
    pub hidden_size: usize,
    /// Numbers between the feed-forward products.
    pub intermediate_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Tokens that fit into the context window.
    pub context_length: usize,
    /// Added to the mean square in norms.
    pub norm_eps: f64,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// Whether the embedding is the output matrix too.
    pub tied_embeddings: bool,
}

impl LlamaConfig {
    /// Reads `config.json` as transformers 4 and 5 write it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for missing keys, [`Error::Unsupported`] for what is not implemented.
    pub fn from_json(config: &JsonFile) -> Result<Self, Error> {
        let need = |key: &str| {
            config
                .integer(key)?
                .filter(|n| *n > 0)
                .ok_or_else(|| config.config_error(key, "nothing", "a whole number above 0"))
        };
        for key in ["attention_bias", "mlp_bias"] {
            if config.boolean(key)?.unwrap_or(false) {
                return Err(unsupported(config.path(), "bias", key, "weights without bias"));
            }
        }
        let activation = config.text("hidden_act")?.unwrap_or("silu");
        if activation != "silu" {
            return Err(unsupported(config.path(), "the activation", activation, "`silu`"));
        }
        let (hidden_size, num_heads) = (need("hidden_size")?, need("num_attention_heads")?);
        let this = Self {
            vocab_size: need("vocab_size")?,
            hidden_size,
            intermediate_size: need("intermediate_size")?,
            num_layers: need("num_hidden_layers")?,
            num_heads,
            num_kv_heads: config.integer("num_key_value_heads")?.unwrap_or(num_heads),
            head_dim: config.integer("head_dim")?.unwrap_or(hidden_size / num_heads),
            context_length: need("max_position_embeddings")?,
            norm_eps: config.float("rms_norm_eps")?.unwrap_or(1e-6),
            rope: rope_from_json(config)?,
            tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        };
        this.check(|key, found, expected| config.config_error(key, found, expected))?;
        Ok(this)
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// As [`Self::from_json`].
    pub fn from_gguf(file: &GgufFile) -> Result<Self, Error> {
        let need = |key: &str| {
            file.integer(key)?
                .filter(|n| *n > 0)
                .ok_or_else(|| file.config_error(key, "nothing", "a whole number above 0"))
        };
        let hidden_size = need("llama.embedding_length")?;
        let num_heads = need("llama.attention.head_count")?;
        let head_dim =
            file.integer("llama.attention.key_length")?.unwrap_or(hidden_size / num_heads);
        let vocab_size = match file.list("tokenizer.ggml.tokens")? {
            Some(tokens) => tokens.len(),
            None => need("llama.vocab_size")?,
        };
        let scaling = if file.contains(ROPE_DIVISORS) {
            RopeScaling::Divisors(file.read(ROPE_DIVISORS, &[head_dim / 2])?)
        } else {
            match file.text("llama.rope.scaling.type")?.unwrap_or("none") {
                "none" => RopeScaling::None,
                "linear" => RopeScaling::Linear {
                    factor: file.float("llama.rope.scaling.factor")?.unwrap_or(1.0),
                },
                other => {
                    let allowed = "`none`, `linear` or the tensor `rope_freqs.weight`";
                    return Err(unsupported(file.path(), "the rope scaling", other, allowed));
                }
            }
        };
        let this = Self {
            vocab_size,
            hidden_size,
            intermediate_size: need("llama.feed_forward_length")?,
            num_layers: need("llama.block_count")?,
            num_heads,
            num_kv_heads: file.integer("llama.attention.head_count_kv")?.unwrap_or(num_heads),
            head_dim,
            context_length: need("llama.context_length")?,
            norm_eps: file.float("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            rope: RopeConfig {
                theta: file.float("llama.rope.freq_base")?.unwrap_or(10_000.0),
                scaling,
            },
            tied_embeddings: !file.contains("output.weight"),
        };
        this.check(|key, found, expected| file.config_error(key, found, expected))?;
        Ok(this)
    }

    fn check(&self, error: impl Fn(&str, &str, &str) -> Error) -> Result<(), Error> {
        if self.num_kv_heads == 0 || !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let found = format!("{} for {} heads", self.num_kv_heads, self.num_heads);
            return Err(error("num_key_value_heads", &found, "a divisor of the number of heads"));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return Err(error("head_dim", &self.head_dim.to_string(), "an even number above 0"));
        }
        Ok(())
    }

    fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Queries, keys and values of a layer, with their numbers of rows.
    fn qkv_parts(&self, layer: usize) -> Vec<(String, usize)> {
        vec![
            (block_name(layer, "self_attn.q_proj"), self.q_width()),
            (block_name(layer, "self_attn.k_proj"), self.kv_width()),
            (block_name(layer, "self_attn.v_proj"), self.kv_width()),
        ]
    }

    fn output_parts(&self, layer: usize) -> Vec<(String, usize)> {
        vec![(block_name(layer, "self_attn.o_proj"), self.hidden_size)]
    }

    fn gate_up_parts(&self, layer: usize) -> Vec<(String, usize)> {
        vec![
            (block_name(layer, "mlp.gate_proj"), self.intermediate_size),
            (block_name(layer, "mlp.up_proj"), self.intermediate_size),
        ]
    }

    fn down_parts(&self, layer: usize) -> Vec<(String, usize)> {
        vec![(block_name(layer, "mlp.down_proj"), self.hidden_size)]
    }

    /// The shape of every layer's attention.
    pub fn attention(&self) -> AttentionShape {
        AttentionShape {
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            scale: (1.0 / (self.head_dim as f64).sqrt()) as f32,
            window: None,
        }
    }
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
const ATTENTION_NORM: &str = "input_layernorm";
const FEED_FORWARD_NORM: &str = "post_attention_layernorm";

/// The Hugging Face name of a layer's weight.
fn block_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

const ROPE_DIVISORS: &str = "rope_freqs.weight";

fn unsupported(path: &Path, what: &str, found: &str, allowed: &str) -> Error {
    Error::Unsupported {
        path: path.to_owned(),
        what: what.to_owned(),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
        hint: "this family implements the layers of Llama 2, Llama 3 and SmolLM2",
    }
}

/// Version 5 keeps everything under `rope_parameters`, version 4 has `rope_theta` beside
/// `rope_scaling` (whose kind is `rope_type`, or `type` in older files).
fn rope_from_json(config: &JsonFile) -> Result<RopeConfig, Error> {
    let table =
        if config.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let key = |name: &str| format!("{table}.{name}");
    let theta = match config.float(&key("rope_theta"))? {
        Some(theta) => theta,
        None => config.float("rope_theta")?.unwrap_or(10_000.0),
    };
    let need = |name: &str| {
        config
            .float(&key(name))?
            .filter(|x| *x > 0.0)
            .ok_or_else(|| config.config_error(&key(name), "nothing", "a number above 0"))
    };
    let kind = match config.text(&key("rope_type"))? {
        Some(kind) => kind,
        None => config.text(&key("type"))?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: need("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_context: need("original_max_position_embeddings")?,
        },
        other => {
            let allowed = "`default`, `linear` and `llama3`";
            return Err(unsupported(config.path(), "the rope type", other, allowed));
        }
    };
    Ok(RopeConfig { theta, scaling })
}

/// One layer.
#[derive(Clone, Debug)]
pub struct LlamaBlock {
    /// Norm before attention, `[d]`.
    pub attention_norm: Tensor<1>,
    /// Queries, keys and values, `[(heads + 2 · kv_heads) · h, d]`.
    pub qkv: Linear,
    /// Output of attention, `[d, heads · h]`.
    pub output: Linear,
    /// Norm before the feed-forward part, `[d]`.
    pub feed_forward_norm: Tensor<1>,
    /// Gate and up, `[2 · intermediate, d]`.
    pub gate_up: Linear,
    /// Back to the hidden size, `[d, intermediate]`.
    pub down: Linear,
}

impl LlamaBlock {
    /// The layer applied to hidden states `[r, d]`.
    pub fn forward(
        &self,
        x_rd: Tensor<2>,
        layer: usize,
        config: &LlamaConfig,
        angles: &RopeAngles,
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let shape = config.attention();
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let normed = rms_norm(&x_rd, &self.attention_norm, config.norm_eps);
        let qkv = self.qkv.forward(&normed);
        let q = rope(&qkv.clone().narrow(1, 0, q_width), angles);
        let k = rope(&qkv.clone().narrow(1, q_width, kv_width), angles);
        let v = qkv.narrow(1, q_width + kv_width, kv_width);
        let mixed = attend.attend(layer, &shape, &q, &k, &v);
        let x_rd = add(x_rd, self.output.forward(&mixed));
        let normed = rms_norm(&x_rd, &self.feed_forward_norm, config.norm_eps);
        let activated = silu_mul(&self.gate_up.forward(&normed));
        add(x_rd, self.down.forward(&activated))
    }
}

/// A Llama model.
#[derive(Clone, Debug)]
pub struct Llama {
    /// What shapes it.
    pub config: LlamaConfig,
    /// Token embeddings, `[v, d]`.
    pub embedding: Linear,
    /// The layers.
    pub blocks: Vec<LlamaBlock>,
    /// Norm after the last layer, `[d]`.
    pub norm: Tensor<1>,
    /// Output matrix `[v, d]`; none where the embedding is tied.
    pub head: Option<Linear>,
    spec: DecoderSpec,
    frequencies: Vec<f32>,
    device: burn::tensor::Device,
}

impl Llama {
    /// Loads the weights that `config` asks for, under their Hugging Face names: packed for the CPU
    /// kernels where `device` has them, as plain tensors elsewhere.
    ///
    /// # Errors
    ///
    /// What [`WeightSource::read`] says.
    pub fn load(
        config: LlamaConfig,
        weights: &dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        let burn = device.burn();
        let LlamaConfig { hidden_size: d, intermediate_size, vocab_size, .. } = config;
        let (q_width, kv_width) = (config.q_width(), config.kv_width());
        let linear = |parts: &[(String, usize)], inner: usize| -> Result<Linear, Error> {
            let mut all = Vec::new();
            for (name, out) in parts {
                let part = weights.read(name, &[*out, inner])?;
                if all.is_empty() {
                    all = part;
                } else {
                    all.extend(part);
                }
            }
            let out = parts.iter().map(|(_, out)| out).sum();
            Ok(if device.has_kernels() {
                Linear::packed(&all, out, inner)
            } else {
                Linear::from_tensor(Tensor::from_data(TensorData::new(all, [out, inner]), burn))
            })
        };
        let vector = |name: &str| -> Result<Tensor<1>, Error> {
            Ok(Tensor::from_data(TensorData::new(weights.read(name, &[d])?, [d]), burn))
        };
        let mut blocks = Vec::new();
        for layer in 0..config.num_layers {
            blocks.push(LlamaBlock {
                attention_norm: vector(&block_name(layer, ATTENTION_NORM))?,
                qkv: linear(&config.qkv_parts(layer), d)?,
                output: linear(&config.output_parts(layer), q_width)?,
                feed_forward_norm: vector(&block_name(layer, FEED_FORWARD_NORM))?,
                gate_up: linear(&config.gate_up_parts(layer), d)?,
                down: linear(&config.down_parts(layer), intermediate_size)?,
            });
        }
        let head = if config.tied_embeddings {
            None
        } else {
            Some(linear(&[(HEAD.to_owned(), vocab_size)], d)?)
        };
        let embedding = linear(&[(EMBEDDING.to_owned(), vocab_size)], d)?;
        let norm = vector(NORM)?;
        let block = (q_width + 2 * kv_width) * d + q_width * d + 3 * intermediate_size * d + 2 * d;
        let tables = if config.tied_embeddings { 1 } else { 2 };
        let spec = DecoderSpec {
            vocab_size,
            context_length: config.context_length,
            hidden_size: d,
            num_layers: config.num_layers,
            head_dim: config.head_dim,
            num_parameters: (config.num_layers * block + tables * vocab_size * d + d) as u64,
        };
        let frequencies = config.rope.frequencies(config.head_dim);
        Ok(Self { config, embedding, blocks, norm, head, spec, frequencies, device: burn.clone() })
    }

    /// The rotary angles of the given positions.
    pub fn angles(&self, positions: &[u32]) -> RopeAngles {
        RopeAngles::new(positions, &self.frequencies, &self.device)
    }
}

impl Decoder for Llama {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn canonical_config(&self) -> String {
        serde_json::to_string(&self.config).expect("numbers and names are valid JSON")
    }

    fn hf_config(&self) -> Option<Value> {
        let LlamaConfig { rope, .. } = &self.config;
        let mut rope_parameters = match &rope.scaling {
            RopeScaling::None => json!({ "rope_type": "default" }),
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                json!({
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": low_freq_factor,
                    "high_freq_factor": high_freq_factor,
                    "original_max_position_embeddings": *original_context as u64,
                })
            }
            RopeScaling::Divisors(_) => return None,
        };
        rope_parameters["rope_theta"] = json!(rope.theta);
        Some(json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "float32",
            "vocab_size": self.config.vocab_size,
            "hidden_size": self.config.hidden_size,
            "intermediate_size": self.config.intermediate_size,
            "num_hidden_layers": self.config.num_layers,
            "num_attention_heads": self.config.num_heads,
            "num_key_value_heads": self.config.num_kv_heads,
            "head_dim": self.config.head_dim,
            "max_position_embeddings": self.config.context_length,
            "rms_norm_eps": self.config.norm_eps,
            "rope_parameters": rope_parameters,
            "tie_word_embeddings": self.config.tied_embeddings,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
        }))
    }

    fn forward(&self, ids: &[u32], positions: &[u32], attend: &mut dyn Attend) -> Tensor<2> {
        let angles = self.angles(positions);
        let mut x_rd = self.embedding.rows(ids);
        for (layer, block) in self.blocks.iter().enumerate() {
            x_rd = block.forward(x_rd, layer, &self.config, &angles, attend);
        }
        rms_norm(&x_rd, &self.norm, self.config.norm_eps)
    }

    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).forward(hidden)
    }

    fn token_logprobs(&self, hidden: &Tensor<2>, targets: &[u32]) -> (Tensor<1>, Vec<f32>) {
        ops::token_logprobs(hidden, self.head.as_ref().unwrap_or(&self.embedding), targets)
    }

    fn weights_mut(&mut self) -> Vec<WeightMut<'_>> {
        let config = &self.config;
        let matrix = |parts: Vec<(String, usize)>, linear| WeightMut::Matrix { parts, linear };
        let vector = |name: String, tensor| WeightMut::Vector { name, tensor };
        let mut weights =
            vec![matrix(vec![(EMBEDDING.to_owned(), config.vocab_size)], &mut self.embedding)];
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            weights.extend([
                vector(block_name(layer, ATTENTION_NORM), &mut block.attention_norm),
                matrix(config.qkv_parts(layer), &mut block.qkv),
                matrix(config.output_parts(layer), &mut block.output),
                vector(block_name(layer, FEED_FORWARD_NORM), &mut block.feed_forward_norm),
                matrix(config.gate_up_parts(layer), &mut block.gate_up),
                matrix(config.down_parts(layer), &mut block.down),
            ]);
        }
        weights.push(vector(NORM.to_owned(), &mut self.norm));
        if let Some(head) = &mut self.head {
            weights.push(matrix(vec![(HEAD.to_owned(), config.vocab_size)], head));
        }
        weights
    }

    fn clone_box(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }
}

impl Family for LlamaFamily {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn summary(&self) -> &'static str {
        "Llama 2 and 3 (with Llama 3.1's rope scaling), SmolLM2"
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
        let head_dim = config.head_dim;
        Ok(Box::new(Llama::load(config, &GgufNames { file, head_dim }, device)?))
    }
}

/// A GGUF file under Hugging Face names and with their row order.
struct GgufNames<'a> {
    file: &'a GgufFile,
    head_dim: usize,
}

impl GgufNames<'_> {
    fn rename(name: &str) -> String {
        let top = [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("lm_head.weight", "output.weight"),
        ];
        if let Some((_, gguf)) = top.iter().find(|(hf, _)| *hf == name) {
            return (*gguf).to_owned();
        }
        let parts = [
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ];
        let renamed = parts.iter().fold(name.to_owned(), |name, (hf, gguf)| {
            name.replacen(&format!(".{hf}."), &format!(".{gguf}."), 1)
        });
        renamed.replacen("model.layers.", "blk.", 1)
    }
}

impl WeightSource for GgufNames<'_> {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn contains(&self, name: &str) -> bool {
        self.file.contains(&Self::rename(name))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let data = self.file.read(&Self::rename(name), shape)?;
        let rotated = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
        Ok(if rotated { half_split_rows(&data, shape[1], self.head_dim) } else { data })
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

    #[test]
    fn hugging_face_names_have_gguf_names() {
        let renamed = GgufNames::rename("model.layers.12.self_attn.o_proj.weight");
        assert_eq!(renamed, "blk.12.attn_output.weight");
        assert_eq!(
            GgufNames::rename("model.layers.0.post_attention_layernorm.weight"),
            "blk.0.ffn_norm.weight"
        );
        assert_eq!(GgufNames::rename("model.norm.weight"), "output_norm.weight");
    }
}
