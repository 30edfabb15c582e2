//! The interface between a decoder's layers and attention.

use burn::tensor::Tensor;

/// The sizes of a layer's attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// The factor of the scores.
    pub scale: f32,
    /// The number of last keys that a token attends to, its own included; none: all.
    pub window: Option<usize>,
}

/// Attention of one forward pass.
pub trait Attend {
    /// Computes the attention of the pass's rows in layer `layer`.
    ///
    /// # Shapes
    ///
    /// `q` is `[r, num_heads · head_dim]`, `k` and `v` are `[r, num_kv_heads · head_dim]`, with the
    /// rotary embedding applied; the result has the shape of `q`.
    fn attend(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2>;
}
