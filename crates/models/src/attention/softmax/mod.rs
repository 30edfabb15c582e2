//! The softmax of masked attention scores, and its gradient.
//!
//! Shapes: `n` sequences, `k` key heads, `g` query heads of each, `m` rows of a sequence, `s` keys.

#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod gpu;

use burn::tensor::Tensor;

use crate::ops::widen;

/// Computes `softmax(scale · products + mask)` over the keys, in the format of `products`, and the logarithm of
/// each row's sum of exponentials, in single precision. The mask is 0 for visible keys and minus
/// infinity for others; every row has a visible key.
///
/// # Shapes
///
/// `[n, k, g · m, s]` and `[n, m, s]` to `[n, k, g · m, s]` and `[n, k, g · m, 1]`.
pub(crate) fn masked_softmax(
    products: &Tensor<4>,
    mask: &Tensor<3>,
    scale: f32,
) -> (Tensor<4>, Tensor<4>) {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(result) = gpu::masked_softmax(products, mask, scale) {
        return result;
    }
    let scores = scores(products, mask, scale);
    let largest = scores.clone().max_dim(3);
    let weights = (scores - largest.clone()).exp();
    let sums = weights.clone().sum_dim(3);
    ((weights / sums.clone()).cast(products.dtype()), largest + sums.log())
}

/// Computes the weights again, and the gradient of `products` from that of the weights.
///
/// # Shapes
///
/// See [`masked_softmax`].
pub(crate) fn masked_softmax_backward(
    [products, log_sums, grad]: [&Tensor<4>; 3],
    mask: &Tensor<3>,
    scale: f32,
) -> [Tensor<4>; 2] {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(result) = gpu::masked_softmax_backward([products, log_sums, grad], mask, scale) {
        return result;
    }
    let format = products.dtype();
    let weights = (scores(products, mask, scale) - log_sums.clone()).exp();
    let of_weights = widen(grad.clone()) * weights.clone();
    let means = of_weights.clone().sum_dim(3);
    let of_scores = of_weights - weights.clone() * means;
    [weights.cast(format), (of_scores * scale).cast(format)]
}

/// Computes the scores, at least in single precision.
fn scores(products: &Tensor<4>, mask: &Tensor<3>, scale: f32) -> Tensor<4> {
    let ([sequences, _, stacked, keys], [_, rows, _]) = (products.dims(), mask.dims());
    let products_shape = products.dims();
    let scores = widen(products.clone()) * scale;
    let mask = mask.clone().cast(scores.dtype()).unsqueeze_dim(1);
    let heads = products_shape[1] * stacked / rows;
    (scores.reshape([sequences, heads, rows, keys]) + mask).reshape(products_shape)
}
