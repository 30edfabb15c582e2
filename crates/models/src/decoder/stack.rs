//! Decoders that are a stack of similar layers between an embedding and a head.
//!
//! A family defines its layers ([`Layers`]). Loading, the forward pass, the list of weights and their
//! Hugging Face names are shared.
//!
//! Shapes: `r` rows, `d` hidden size, `v` vocabulary.

use std::ops::Range;

use burn::tensor::Tensor;
use serde::Serialize;
use serde_json::Value;

use super::interface::{Decoder, DecoderSpec, WeightMut};
use super::layer_vectors::{LayerVector, LayerVectors, Slot};
use super::loader::Loader;
use super::products::{ProductParts, Products};
use super::sizes::{Sizes, layer_name};
use crate::attention::Attend;
use crate::format::WeightSource;
use crate::ops::{Linear, Targets};
use crate::{Device, Error, ops};

/// A layer: its products and its vectors.
#[derive(Clone, Debug)]
pub struct Layer<V> {
    /// The products.
    pub products: Products<Linear>,
    /// The weights of its norms, and its biases.
    pub vectors: V,
}

/// The layers of a family.
pub trait Layers: Clone + Serialize + Send + Sync + 'static {
    /// The values that depend only on the positions of a pass's rows.
    type Positions;

    /// The vectors of a layer.
    type Vectors: LayerVectors;

    /// Returns the sizes.
    fn sizes(&self) -> &Sizes;

    /// Returns true if the embedding is also the output matrix.
    fn has_tied_embeddings(&self) -> bool;

    /// Computes the values that depend only on positions, such as rotary angles.
    fn positions(&self, positions: &[u32], device: &burn::tensor::Device) -> Self::Positions;

    /// Converts embeddings to the input of the first layer, `[r, d]` to `[r, d]`.
    fn embedded(&self, x_rd: Tensor<2>) -> Tensor<2> {
        x_rd
    }

    /// Applies a layer to hidden states, `[r, d]` to `[r, d]`.
    fn forward(
        &self,
        layer: &Layer<Self::Vectors>,
        index: usize,
        x_rd: Tensor<2>,
        positions: &Self::Positions,
        attend: &mut dyn Attend,
    ) -> Tensor<2>;

    /// Applies a norm to hidden states or heads, each a row.
    fn norm(&self, x_rd: &Tensor<2>, weight_d: &Tensor<1>) -> Tensor<2> {
        ops::rms_norm(x_rd, weight_d, self.sizes().norm_eps)
    }

    /// Returns the bound of logits, `cap · tanh(logits / cap)`, if there is one.
    fn logit_cap(&self) -> Option<f64> {
        None
    }

    /// Returns the `config.json`; see [`Decoder::hf_config`].
    fn hf_config(&self) -> Option<Value>;
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// A decoder of a family.
#[derive(Clone, Debug)]
pub struct Stack<L: Layers> {
    /// The configuration.
    pub config: L,
    /// Token embeddings, `[v, d]`.
    pub embedding: Linear,
    /// The layers.
    pub layers: Vec<Layer<L::Vectors>>,
    /// Norm after the last layer, `[d]`.
    pub norm: Tensor<1>,
    /// Output matrix `[v, d]`; none where the embedding is tied.
    pub head: Option<Linear>,
    spec: DecoderSpec,
    device: burn::tensor::Device,
}

impl<L: Layers> Stack<L> {
    /// Loads the weights of `config` under their Hugging Face names: packed if `device` has CPU kernels, as
    /// plain tensors otherwise.
    ///
    /// # Errors
    ///
    /// See [`WeightSource::read`]; [`Error::Unsupported`] for a tensor that the layers don't use.
    pub fn load(config: L, weights: &dyn WeightSource, device: &Device) -> Result<Self, Error> {
        let loader = Loader::new(weights, device);
        let sizes = config.sizes();
        let (d, vocab_size) = (sizes.hidden_size, sizes.vocab_size);
        let mut layers = Vec::new();
        let mut num_parameters = 0;
        for index in 0..sizes.num_layers {
            let mut load = |parts: &ProductParts| {
                num_parameters += parts.rows() * parts.inner;
                loader.linear(&parts.parts, parts.inner)
            };
            let parts = sizes.products(index);
            let products = Products {
                qkv: load(&parts.qkv)?,
                output: load(&parts.output)?,
                gate_up: load(&parts.gate_up)?,
                down: load(&parts.down)?,
            };
            let vectors = L::Vectors::load(|vector: &LayerVector| {
                let len = vector.width.len(sizes);
                num_parameters += len;
                loader.vector(&layer_name(index, vector.name), len)
            })?;
            layers.push(Layer { products, vectors });
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

    /// Computes the values that depend only on positions.
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
        range: Range<usize>,
        hidden: Tensor<2>,
        positions: &[u32],
        attend: &mut dyn Attend,
    ) -> Tensor<2> {
        let positions = self.positions(positions);
        let mut x_rd = hidden;
        for index in range {
            x_rd = self.config.forward(&self.layers[index], index, x_rd, &positions, attend);
        }
        x_rd
    }

    fn norm(&self, hidden: &Tensor<2>) -> Tensor<2> {
        self.config.norm(hidden, &self.norm)
    }

    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        let logits = ops::widen(self.output_matrix().forward(hidden));
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
        for (index, Layer { products, vectors }) in self.layers.iter_mut().enumerate() {
            let Products { qkv, output, gate_up, down } = products;
            let parts = sizes.products(index);
            let products = [
                (Slot::BeforeOutput, parts.qkv, qkv),
                (Slot::BeforeGateUp, parts.output, output),
                (Slot::BeforeDown, parts.gate_up, gate_up),
                (Slot::AfterDown, parts.down, down),
            ];
            let mut vectors = vectors.tensors_mut();
            let mut push_vectors = |weights: &mut Vec<_>, slot: Slot| {
                for (vector, tensor) in vectors.extract_if(.., |(vector, _)| vector.slot == slot) {
                    let name = layer_name(index, vector.name);
                    weights.push(WeightMut::Vector { name, tensor });
                }
            };
            push_vectors(&mut weights, Slot::BeforeQkv);
            for (slot, parts, linear) in products {
                weights.push(matrix(parts.parts, linear));
                push_vectors(&mut weights, slot);
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::decoder::{Qwen3Config, RopeConfig, RopeScaling};

    /// Weights whose values are all equal.
    struct Constant;

    impl WeightSource for Constant {
        fn path(&self) -> &Path {
            Path::new("constant")
        }

        fn contains(&self, name: &str) -> bool {
            name != HEAD
        }

        fn read(&self, _: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
            Ok(vec![0.5; shape.iter().product()])
        }

        fn first_unread(&self, _: &BTreeSet<String>) -> Option<String> {
            None
        }
    }

    #[test]
    fn weights_are_listed_in_the_order_of_the_forward_pass() {
        let sizes = Sizes {
            vocab_size: 20,
            hidden_size: 32,
            intermediate_size: 48,
            num_layers: 2,
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 16,
            context_length: 64,
            norm_eps: 1e-6,
        };
        let rope = RopeConfig { theta: 1e4, scaling: RopeScaling::None };
        let config = Qwen3Config { sizes, rope, tied_embeddings: true };
        let mut stack = Stack::load(config, &Constant, &Device::cpu()).expect("loads");
        let mut count = 0;
        let mut names = Vec::new();
        for weight in stack.weights_mut() {
            match weight {
                WeightMut::Matrix { parts, linear } => {
                    count += linear.shape().iter().product::<usize>();
                    names.extend(parts.into_iter().map(|(name, _)| name));
                }
                WeightMut::Vector { name, tensor } => {
                    count += tensor.dims()[0];
                    names.push(name);
                }
            }
        }
        assert_eq!(count as u64, stack.spec().num_parameters);
        let layer = |index: usize| {
            [
                "input_layernorm",
                "self_attn.q_proj",
                "self_attn.k_proj",
                "self_attn.v_proj",
                "self_attn.q_norm",
                "self_attn.k_norm",
                "self_attn.o_proj",
                "post_attention_layernorm",
                "mlp.gate_proj",
                "mlp.up_proj",
                "mlp.down_proj",
            ]
            .map(|part| layer_name(index, &format!("{part}.weight")))
        };
        let mut expected = vec![EMBEDDING.to_owned()];
        expected.extend([layer(0), layer(1)].concat());
        expected.push(NORM.to_owned());
        assert_eq!(names, expected);
    }
}
