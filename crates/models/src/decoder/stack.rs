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

use super::interface::{Decoder, DecoderSpec, WeightMut};
use super::loader::Loader;
use super::sizes::{Sizes, layer_name};
use crate::attention::Attend;
use crate::format::WeightSource;
use crate::ops::{Linear, Targets};
use crate::{Device, Error, ops};

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
