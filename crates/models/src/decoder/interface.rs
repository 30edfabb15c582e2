//! The interface of a decoder, which the sampler, the scorer and training use for every family.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::attention::Attend;
use crate::ops;
use crate::ops::{Linear, Targets};

/// The sizes of a decoder, whatever its family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderSpec {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Number of tokens that fit into the context window.
    pub context_length: usize,
    /// Values per hidden state.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_layers: usize,
    /// Values per attention head.
    pub head_dim: usize,
    /// Values per token of keys and values, over all layers.
    pub key_value_width: usize,
    /// Number of weights; tied ones count once.
    pub num_parameters: u64,
}

/// A decoder-only language model.
pub trait Decoder: Send + Sync {
    /// Returns its sizes.
    fn spec(&self) -> &DecoderSpec;

    /// Returns the configuration in canonical form, which does not depend on the format of the files.
    fn canonical_config(&self) -> String;

    /// Returns its `config.json` as transformers 5 writes it, or none if `config.json` can't express the
    /// configuration.
    fn hf_config(&self) -> Option<serde_json::Value>;

    /// Computes the input of the first layer from token ids.
    ///
    /// # Shapes
    ///
    /// `r` ids to `[r, hidden_size]`.
    fn embed(&self, ids: &[u32]) -> Tensor<2>;

    /// Applies consecutive layers to rows at the given positions.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` and `r` positions to `[r, hidden_size]`.
    fn layers(
        &self,
        range: Range<usize>,
        hidden: Tensor<2>,
        positions: &[u32],
        attend: &mut dyn Attend,
    ) -> Tensor<2>;

    /// Applies the norm after the last layer.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to the same.
    fn norm(&self, hidden: &Tensor<2>) -> Tensor<2>;

    /// Computes the final hidden states of the given tokens.
    ///
    /// # Shapes
    ///
    /// `r` ids and positions to `[r, hidden_size]`.
    fn forward(&self, ids: &[u32], positions: &[u32], attend: &mut dyn Attend) -> Tensor<2> {
        let all = 0..self.spec().num_layers;
        self.norm(&self.layers(all, self.embed(ids), positions, attend))
    }

    /// Computes the logits of hidden states.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to `[r, vocab_size]`.
    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2>;

    /// Computes the log-probabilities of `targets`, one for each hidden state, and the entropy (in nats) of
    /// each of their distributions. Under autodiff, logits of only a part of the rows are in memory at once.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to `[r]` and `r` values.
    fn token_logprobs(&self, hidden: &Tensor<2>, targets: &Targets) -> (Tensor<1>, Vec<f32>) {
        ops::plain_token_logprobs(self.logits(hidden), targets)
    }

    /// Returns its weights, always in the same order; a tied weight appears once.
    fn weights_mut(&mut self) -> Vec<WeightMut<'_>>;

    /// Clones the decoder. The weights are shared until one of the two is changed.
    fn clone_box(&self) -> Box<dyn Decoder>;
}

/// A weight of a decoder.
#[derive(Debug)]
pub enum WeightMut<'a> {
    /// A matrix, or several matrices of a checkpoint stacked on one another.
    Matrix {
        /// The names in the checkpoint with their numbers of rows, from the top.
        parts: Vec<(String, usize)>,
        /// The matrix `[out, in]`.
        linear: &'a mut Linear,
    },
    /// The weight of a norm, or a bias.
    Vector {
        /// The name in the checkpoint.
        name: String,
        /// `[d]`; a bias is as long as its product is wide.
        tensor: &'a mut Tensor<1>,
    },
}

impl WeightMut<'_> {
    /// Returns the index of its layer; none for weights before and after the layers.
    pub fn layer(&self) -> Option<usize> {
        let name = match self {
            Self::Matrix { parts, .. } => &parts.first()?.0,
            Self::Vector { name, .. } => name,
        };
        name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
    }
}
