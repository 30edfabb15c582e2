//! What the sampler and the scorer need of a model, whatever its family.

use burn::tensor::Tensor;

use crate::attention::Attend;

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
    /// All weights, tied ones counted once.
    pub num_parameters: u64,
}

/// A decoder-only language model.
pub trait Decoder: Send + Sync {
    /// Its numbers.
    fn spec(&self) -> &DecoderSpec;

    /// The configuration in one canonical text, however the files spelt it.
    fn canonical_config(&self) -> String;

    /// Final hidden states of the given tokens.
    ///
    /// # Shapes
    ///
    /// `r` ids and positions to `[r, hidden_size]`.
    fn forward(&self, ids: &[u32], positions: &[u32], attend: &mut dyn Attend) -> Tensor<2>;

    /// Logits of hidden states.
    ///
    /// # Shapes
    ///
    /// `[r, hidden_size]` to `[r, vocab_size]`.
    fn logits(&self, hidden: &Tensor<2>) -> Tensor<2>;
}
