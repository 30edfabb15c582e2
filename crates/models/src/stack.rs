//! Decoders that are a stack of like layers between an embedding and a head: what families share.
//!
//! A family says what its layer is ([`Layers`]); loading, the pass from bottom to top, the list of
//! weights and their Hugging Face names are here.
//!
//! Shapes: `r` rows, `d` hidden size, `v` vocabulary.

use std::ops::Range;

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::attention::Attend;
use crate::decoder::{Decoder, DecoderSpec, WeightMut};
use crate::device::Device;
use crate::gguf::GgufFile;
use crate::hf_folder::JsonFile;
use crate::loader::Loader;
use crate::ops::{self, Linear};
use crate::targets::Targets;
use crate::weights::WeightSource;

/// The sizes that every family has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sizes {
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
}

/// What a family takes for keys that a configuration lacks; none: the key is needed, or follows from
/// others.
#[derive(Clone, Copy, Debug)]
pub struct SizeDefaults {
    /// Tokens of the vocabulary.
    pub vocab_size: Option<usize>,
    /// Query heads.
    pub num_heads: Option<usize>,
    /// Key and value heads; none: as many as query heads.
    pub num_kv_heads: Option<usize>,
    /// Numbers of a head; none: the hidden size over the heads.
    pub head_dim: Option<usize>,
    /// Tokens that fit into the context window.
    pub context_length: Option<usize>,
    /// Added to the mean square in norms.
    pub norm_eps: f64,
}

impl SizeDefaults {
    /// None but this one.
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
    /// [`Error::Config`] for a key that is missing or can't be.
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
    /// As [`Self::from_json`].
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

    /// Numbers of all query heads.
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Numbers of all key heads, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// The products of a layer, each with the parts of a checkpoint that lie above one another in it
    /// and the numbers they take.
    pub fn products(&self, layer: usize) -> [(Vec<(String, usize)>, usize); 4] {
        let part = |name: &str, rows: usize| (layer_name(layer, name), rows);
        let (q, kv, d, inner) =
            (self.q_width(), self.kv_width(), self.hidden_size, self.intermediate_size);
        [
            (
                vec![
                    part("self_attn.q_proj", q),
                    part("self_attn.k_proj", kv),
                    part("self_attn.v_proj", kv),
                ],
                d,
            ),
            (vec![part("self_attn.o_proj", d)], q),
            (vec![part("mlp.gate_proj", inner), part("mlp.up_proj", inner)], d),
            (vec![part("mlp.down_proj", d)], inner),
        ]
    }

    /// The keys of a `config.json`, as transformers 5 writes them.
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

/// The four products of a layer.
#[derive(Clone, Debug)]
pub struct Products {
    /// Queries, keys and values, `[(heads + 2 · kv_heads) · h, d]`.
    pub qkv: Linear,
    /// Output of attention, `[d, heads · h]`.
    pub output: Linear,
    /// Gate and up, `[2 · intermediate, d]`.
    pub gate_up: Linear,
    /// Back to the hidden size, `[d, intermediate]`.
    pub down: Linear,
}

/// A layer: its products and its norms, in an order of the family's own.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The products.
    pub products: Products,
    /// The norms' weights.
    pub norms: Vec<Tensor<1>>,
}

/// A norm of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Its name in a layer of a checkpoint, for example `input_layernorm`.
    pub name: &'static str,
    /// Whether it is of a head and not of a hidden state.
    pub is_of_head: bool,
    /// The product before which it stands in lists of weights, 0 to 4.
    pub before: usize,
}

impl Norm {
    /// A norm of hidden states.
    pub const fn hidden(name: &'static str, before: usize) -> Self {
        Self { name, is_of_head: false, before }
    }

    /// A norm of heads.
    pub const fn head(name: &'static str, before: usize) -> Self {
        Self { name, is_of_head: true, before }
    }
}

/// What a family's layers are and do.
pub trait Layers: Clone + Serialize + Send + Sync + 'static {
    /// What depends on the positions of a pass's rows alone.
    type Positions;

    /// Its norms, in the order of [`Layer::norms`].
    const NORMS: &'static [Norm];

    /// The sizes.
    fn sizes(&self) -> &Sizes;

    /// Whether the embedding is the output matrix too.
    fn has_tied_embeddings(&self) -> bool;

    /// The rotary angles and the like.
    fn positions(&self, positions: &[u32], device: &burn::tensor::Device) -> Self::Positions;

    /// What embeddings are before the first layer, `[r, d]` to `[r, d]`.
    fn embedded(&self, x_rd: Tensor<2>) -> Tensor<2> {
        x_rd
    }

    /// A layer applied to hidden states, `[r, d]` to `[r, d]`.
    fn forward(
        &self,
        layer: &Layer,
        number: usize,
        x_rd: Tensor<2>,
        positions: &Self::Positions,
        attend: &mut dyn Attend,
    ) -> Tensor<2>;

    /// A norm of hidden states or of heads, each a row.
    fn norm(&self, x_rd: &Tensor<2>, weight_d: &Tensor<1>) -> Tensor<2> {
        ops::rms_norm(x_rd, weight_d, self.sizes().norm_eps)
    }

    /// The bound of logits, `cap · tanh(logits / cap)`; none: they have none.
    fn logit_cap(&self) -> Option<f64> {
        None
    }

    /// See [`Decoder::hf_config`].
    fn hf_config(&self) -> Option<Value>;
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// The Hugging Face name of a layer's weight.
fn layer_name(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

/// A decoder of a family.
#[derive(Clone, Debug)]
pub struct Stack<L> {
    /// What shapes it.
    pub config: L,
    /// Token embeddings, `[v, d]`.
    pub embedding: Linear,
    /// The layers.
    pub layers: Vec<Layer>,
    /// Norm after the last layer, `[d]`.
    pub norm: Tensor<1>,
    /// Output matrix `[v, d]`; none where the embedding is tied.
    pub head: Option<Linear>,
    spec: DecoderSpec,
    device: burn::tensor::Device,
}

impl<L: Layers> Stack<L> {
    /// Loads the weights that `config` asks for, under their Hugging Face names: packed for the CPU
    /// kernels where `device` has them, as plain tensors elsewhere.
    ///
    /// # Errors
    ///
    /// What [`WeightSource::read`] says; [`Error::Unsupported`] for a tensor that the layers don't use.
    pub fn load(config: L, weights: &dyn WeightSource, device: &Device) -> Result<Self, Error> {
        let loader = Loader::new(weights, device);
        let sizes = config.sizes();
        let (d, vocab_size) = (sizes.hidden_size, sizes.vocab_size);
        let mut layers = Vec::new();
        let mut num_parameters = 0;
        for number in 0..sizes.num_layers {
            let [qkv, output, gate_up, down] = sizes.products(number).map(|(parts, inner)| {
                num_parameters += parts.iter().map(|(_, rows)| rows * inner).sum::<usize>();
                loader.linear(&parts, inner)
            });
            let products = Products { qkv: qkv?, output: output?, gate_up: gate_up?, down: down? };
            let norm = |norm: &Norm| {
                let len = if norm.is_of_head { sizes.head_dim } else { d };
                num_parameters += len;
                loader.vector(&layer_name(number, norm.name), len)
            };
            let norms = L::NORMS.iter().map(norm).collect::<Result<_, _>>()?;
            layers.push(Layer { products, norms });
        }
        let head = if config.has_tied_embeddings() {
            None
        } else {
            Some(loader.linear(&[(HEAD.to_owned(), vocab_size)], d)?)
        };
        let embedding = loader.linear(&[(EMBEDDING.to_owned(), vocab_size)], d)?;
        let norm = loader.vector(NORM, d)?;
        if head.is_none() && weights.contains(HEAD) {
            loader.check_equal(HEAD, EMBEDDING, &[vocab_size, d])?;
        }
        loader.check_all_read()?;
        let tables = if head.is_some() { 2 } else { 1 };
        let spec = DecoderSpec {
            vocab_size,
            context_length: sizes.context_length,
            hidden_size: d,
            num_layers: sizes.num_layers,
            head_dim: sizes.head_dim,
            key_value_width: 2 * sizes.num_layers * sizes.num_kv_heads * sizes.head_dim,
            num_parameters: (num_parameters + tables * vocab_size * d + d) as u64,
        };
        let device = device.burn().clone();
        Ok(Self { config, embedding, layers, norm, head, spec, device })
    }

    /// What depends on positions alone.
    pub fn positions(&self, positions: &[u32]) -> L::Positions {
        self.config.positions(positions, &self.device)
    }

    fn output_matrix(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

impl<L: Layers> Decoder for Stack<L> {
    fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    fn canonical_config(&self) -> String {
        serde_json::to_string(&self.config).expect("numbers and names are valid JSON")
    }

    fn hf_config(&self) -> Option<Value> {
        self.config.hf_config()
    }

    fn embed(&self, ids: &[u32]) -> Tensor<2> {
        self.config.embedded(self.embedding.rows(ids))
    }

    fn layers(
        &self,
        numbers: Range<usize>,
        hidden: Tensor<2>,
        positions: &[u32],
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let positions = self.positions(positions);
        let mut x_rd = hidden;
        for number in numbers {
            x_rd = self.config.forward(&self.layers[number], number, x_rd, &positions, attend);
        }
        x_rd
    }

    fn norm(&self, hidden: &Tensor<2>) -> Tensor<2> {
        self.config.norm(hidden, &self.norm)
    }

    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        let logits = ops::widened(self.output_matrix().forward(hidden));
        match self.config.logit_cap() {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }

    fn token_logprobs(&self, hidden: &Tensor<2>, targets: &Targets) -> (Tensor<1>, Vec<f32>) {
        match self.config.logit_cap() {
            Some(_) => ops::plain_token_logprobs(self.logits(hidden), targets),
            None => ops::token_logprobs(hidden, self.output_matrix(), targets),
        }
    }

    fn weights_mut(&mut self) -> Vec<WeightMut<'_>> {
        let sizes = self.config.sizes();
        let matrix = |parts: Vec<(String, usize)>, linear| WeightMut::Matrix { parts, linear };
        let mut weights =
            vec![matrix(vec![(EMBEDDING.to_owned(), sizes.vocab_size)], &mut self.embedding)];
        for (number, Layer { products, norms }) in self.layers.iter_mut().enumerate() {
            let Products { qkv, output, gate_up, down } = products;
            let linears = [qkv, output, gate_up, down];
            let vector = |norm: &Norm, tensor| WeightMut::Vector {
                name: layer_name(number, norm.name),
                tensor,
            };
            let mut norms = L::NORMS.iter().zip(norms).peekable();
            for (place, ((parts, _), linear)) in
                sizes.products(number).into_iter().zip(linears).enumerate()
            {
                while let Some((norm, tensor)) = norms.next_if(|(norm, _)| norm.before <= place) {
                    weights.push(vector(norm, tensor));
                }
                weights.push(matrix(parts, linear));
            }
            weights.extend(norms.map(|(norm, tensor)| vector(norm, tensor)));
        }
        weights.push(WeightMut::Vector { name: NORM.to_owned(), tensor: &mut self.norm });
        if let Some(head) = &mut self.head {
            weights.push(matrix(vec![(HEAD.to_owned(), sizes.vocab_size)], head));
        }
        weights
    }

    fn clone_box(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }
}
