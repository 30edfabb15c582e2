//! Causal attention of one sequence in burn operations.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::shape::AttentionShape;
use crate::ops::widen;

/// The masks of a pass, one for each number of rows, number of keys and window.
///
/// A mask is added to the scores. With it, a row attends to its own key and those before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CausalMasks {
    masks: Vec<(MaskShape, Tensor<3>)>,
}

/// Rows, keys, window.
type MaskShape = (usize, usize, Option<usize>);

impl CausalMasks {
    /// Returns `[1, rows, keys]` in single precision: 0 for visible keys, minus infinity for others.
    fn get(&mut self, (rows, keys, window): MaskShape, device: &Device) -> Tensor<3> {
        let wanted = (rows, keys, window);
        if let Some((_, mask)) = self.masks.iter().find(|(shape, _)| *shape == wanted) {
            return mask.clone();
        }
        let mut mask = vec![0.0_f32; rows * keys];
        for row in 0..rows {
            let end = keys - rows + row + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            mask[row * keys..][..start].fill(f32::NEG_INFINITY);
            mask[row * keys + end..(row + 1) * keys].fill(f32::NEG_INFINITY);
        }
        let mask = Tensor::from_data(TensorData::new(mask, [1, rows, keys]), device);
        self.masks.push((wanted, mask.clone()));
        mask
    }
}

/// Computes the attention of one sequence, whose rows are the last ones of `k` and `v`.
///
/// # Shapes
///
/// `q` `[r, heads · d]`, `k` and `v` `[keys, kv_heads · d]` to `[r, heads · d]`.
pub(crate) fn causal_attention(
    shape: &AttentionShape,
    masks: &mut CausalMasks,
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
) -> Tensor<2> {
    let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = *shape;
    let ([rows, _], [keys, _]) = (q.dims(), k.dims());
    let device = q.device();
    let heads =
        |x: Tensor<2>, len: usize, count: usize| x.reshape([len, count, head_dim]).swap_dims(0, 1);
    let shared = |x: Tensor<2>| {
        let x: Tensor<4> = heads(x, keys, num_kv_heads).unsqueeze_dim(1);
        let x = x.expand([num_kv_heads, num_heads / num_kv_heads, keys, head_dim]);
        x.reshape([num_heads, keys, head_dim])
    };
    let format = q.dtype();
    let products = heads(q, rows, num_heads).matmul(shared(k).swap_dims(1, 2));
    let scores = widen(products) * scale;
    let mask = masks.get((rows, keys, window), &device).cast(scores.dtype());
    let mixed = activation::softmax(scores + mask, 2).cast(format).matmul(shared(v));
    mixed.swap_dims(0, 1).reshape([rows, num_heads * head_dim])
}
