//! What the sampler and the scorer need of a model, whatever its family.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::attention::Attend;
use crate::ops;
use crate::ops::{Linear, Targets};

/// The numbers that callers outside of a family need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderSpec {
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Tokens that fit into the context window.
    pub context_length: usize,
    /// Numbers of a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub num_layers: usize,
    /// Numbers of an attention head.
    pub head_dim: usize,
    /// Numbers of a token's keys and values, of all layers together.
    pub key_value_width: usize,
    /// All weights, tied ones counted once.
    pub num_parameters: u64,
}

/// A decoder-only language model.
pub trait Decoder: Send + Sync {
    /// Its numbers.
    fn spec(&self) -> &DecoderSpec;

    /// The configuration in one canonical text, however the files spelt it.
    fn canonical_config(&self) -> String;

    /// The `config.json` that makes it, as transformers 5 writes it; none where that has no words for
    /// the configuration.
    fn hf_config(&self) -> Option<serde_json::Value>;

    /// The embeddings of tokens, as the first layer takes them.
    ///
    /// # Shapes
    ///
    /// `r` ids to `[r, hidden_size]`.
    fn embed(&self, ids: &[u32]) -> Tensor<2>;

    /// Consecutive layers, applied to rows at the given positions.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` and `r` positions to `[r, hidden_size]`.
    fn layers(
        &self,
        numbers: Range<usize>,
        hidden: Tensor<2>,
        positions: &[u32],
        attend: &mut dyn Attend,
    ) -> Tensor<2>;

    /// The norm after the last layer.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to the same.
    fn norm(&self, hidden: &Tensor<2>) -> Tensor<2>;

    /// Final hidden states of the given tokens.
    ///
    /// # Shapes
    ///
    /// `r` ids and positions to `[r, hidden_size]`.
    fn forward(&self, ids: &[u32], positions: &[u32], attend: &mut dyn Attend) -> Tensor<2> {
        let all = 0..self.spec().num_layers;
        self.norm(&self.layers(all, self.embed(ids), positions, attend))
    }

    /// Logits of hidden states.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to `[r, vocab_size]`.
    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2>;

    /// The log-probabilities of `targets`, one for each hidden state, and the entropy (in nats) of
    /// each of their distributions; under autodiff without more logits in memory than needed.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to `[r]` and `r` numbers.
    fn token_logprobs(&self, hidden: &Tensor<2>, targets: &Targets) -> (Tensor<1>, Vec<f32>) {
        ops::plain_token_logprobs(self.logits(hidden), targets)
    }

    /// Its weights, always in the same order, a tied one once.
    fn weights_mut(&mut self) -> Vec<WeightMut<'_>>;

    /// The same decoder, its numbers shared until one of the two gets others.
    fn clone_box(&self) -> Box<dyn Decoder>;
}

/// A weight in its place.
#[derive(Debug)]
pub enum WeightMut<'a> {
    /// A matrix, or several of a checkpoint above one another.
    Matrix {
        /// The checkpoint's names with their numbers of rows, from the top.
        parts: Vec<(String, usize)>,
        /// The matrix `[out, in]`.
        linear: &'a mut Linear,
    },
    /// The weight of a norm.
    Vector {
        /// The checkpoint's name.
        name: String,
        /// `[d]`.
        tensor: &'a mut Tensor<1>,
    },
}

impl WeightMut<'_> {
    /// The layer that it is of; none for what comes before and after the layers.
    pub fn layer(&self) -> Option<usize> {
        let name = match self {
            Self::Matrix { parts, .. } => &parts.first()?.0,
            Self::Vector { name, .. } => name,
        };
        name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
    }
}
