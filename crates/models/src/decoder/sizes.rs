//! The sizes that all families have, read from configurations.

use serde::Serialize;
use serde_json::Value;

use super::products::{ProductParts, Products};
use crate::Error;
use crate::format::{GgufFile, JsonFile};

/// The sizes of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizes {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Values per hidden state.
    pub hidden_size: usize,
    /// Values between the feed-forward products.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Number of key and value heads.
    pub num_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Number of tokens that fit into the context window.
    pub context_length: usize,
    /// The epsilon of norms, added to the mean square.
    pub norm_eps: f64,
}

/// A family's defaults for keys that a configuration lacks. None: the key is required, or follows from
/// others.
#[derive(Clone, Copy, Debug)]
pub struct SizeDefaults {
    /// Number of tokens in the vocabulary.
    pub vocab_size: Option<usize>,
    /// Number of query heads.
    pub num_heads: Option<usize>,
    /// Number of key and value heads; none: as many as query heads.
    pub num_kv_heads: Option<usize>,
    /// Values per head; none: the hidden size divided by the number of heads.
    pub head_dim: Option<usize>,
    /// Number of tokens that fit into the context window.
    pub context_length: Option<usize>,
    /// The epsilon of norms, added to the mean square.
    pub norm_eps: f64,
}

impl SizeDefaults {
    /// Creates defaults with this epsilon only.
    pub const fn norm_eps(norm_eps: f64) -> Self {
        Self {
            vocab_size: None,
            num_heads: None,
            num_kv_heads: None,
            head_dim: None,
            context_length: None,
            norm_eps,
        }
    }
}

impl Sizes {
    /// Reads the keys of a `config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a key that is missing or invalid.
    pub fn from_json(config: &JsonFile, defaults: SizeDefaults) -> Result<Self, Error> {
        let or_default = |key: &str, default: Option<usize>| {
            config
                .integer(key)?
                .or(default)
                .filter(|n| *n > 0)
                .ok_or_else(|| config.config_error(key, "nothing", "a whole number above 0"))
        };
        let need = |key: &str| or_default(key, None);
        let hidden_size = need("hidden_size")?;
        let num_heads = or_default("num_attention_heads", defaults.num_heads)?;
        let num_kv_heads = config.integer("num_key_value_heads")?.or(defaults.num_kv_heads);
        let head_dim = config.integer("head_dim")?.or(defaults.head_dim);
        let this = Self {
            vocab_size: or_default("vocab_size", defaults.vocab_size)?,
            hidden_size,
            intermediate_size: need("intermediate_size")?,
            num_layers: need("num_hidden_layers")?,
            num_heads,
            num_kv_heads: num_kv_heads.unwrap_or(num_heads),
            head_dim: head_dim.unwrap_or(hidden_size / num_heads),
            context_length: or_default("max_position_embeddings", defaults.context_length)?,
            norm_eps: config.float("rms_norm_eps")?.unwrap_or(defaults.norm_eps),
        };
        this.check(|key, found, expected| config.config_error(key, found, expected))?;
        Ok(this)
    }

    /// Reads the metadata of a GGUF file, whose keys begin with `architecture`.
    ///
    /// # Errors
    ///
    /// See [`Self::from_json`].
    pub fn from_gguf(
        file: &GgufFile,
        architecture: &str,
        defaults: SizeDefaults,
    ) -> Result<Self, Error> {
        let key = |name: &str| format!("{architecture}.{name}");
        let need = |name: &str| {
            let key = key(name);
            file.integer(&key)?
                .filter(|n| *n > 0)
                .ok_or_else(|| file.config_error(&key, "nothing", "a whole number above 0"))
        };
        let hidden_size = need("embedding_length")?;
        let num_heads = need("attention.head_count")?;
        let head_dim = file.integer(&key("attention.key_length"))?.or(defaults.head_dim);
        let vocab_size = match file.list("tokenizer.ggml.tokens")? {
            Some(tokens) => tokens.len(),
            None => need("vocab_size")?,
        };
        let this = Self {
            vocab_size,
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_layers: need("block_count")?,
            num_heads,
            num_kv_heads: file.integer(&key("attention.head_count_kv"))?.unwrap_or(num_heads),
            head_dim: head_dim.unwrap_or(hidden_size / num_heads),
            context_length: need("context_length")?,
            norm_eps: file
                .float(&key("attention.layer_norm_rms_epsilon"))?
                .unwrap_or(defaults.norm_eps),
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

    /// Returns the number of values of all query heads.
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Returns the number of values of all key heads, which is also that of all value heads.
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Returns the matrices of a checkpoint that form the products of a layer.
    pub fn products(&self, layer: usize) -> Products<ProductParts> {
        let (q, kv, d, inner) =
            (self.q_width(), self.kv_width(), self.hidden_size, self.intermediate_size);
        let product = |parts: &[(&str, usize)], inner: usize| ProductParts {
            parts: parts
                .iter()
                .map(|(name, rows)| (layer_name(layer, &format!("{name}.weight")), *rows))
                .collect(),
            inner,
        };
        let qkv = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
        Products {
            qkv: product(&qkv, d),
            output: product(&[("self_attn.o_proj", d)], q),
            gate_up: product(&[("mlp.gate_proj", inner), ("mlp.up_proj", inner)], d),
            down: product(&[("mlp.down_proj", d)], inner),
        }
    }

    /// Returns the keys of a `config.json`, as transformers 5 writes them.
    pub fn hf_config(&self) -> Value {
        serde_json::json!({
            "dtype": "float32",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": self.norm_eps,
            "attention_bias": false,
        })
    }
}

/// Returns the Hugging Face name of a layer's weight.
pub(crate) fn layer_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}")
}
