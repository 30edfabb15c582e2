//! The softmax of attention's scores, some of which are masked, and its gradient.
//!
//! Shapes: `n` sequences, `k` key heads, `g` query heads of each, `m` rows of a sequence, `s` keys.

use burn::tensor::Tensor;

use crate::cube_kernels;
use crate::ops::widened;

/// `softmax(scale · products + mask)` over the keys, in the format of `products`, and the logarithm of
/// each row's sum of exponentials, in single precision. The mask is 0 where a key is seen and minus infinity
/// elsewhere; every row sees a key.
///
/// # Shapes
///
/// `[n, k, g · m, s]` and `[n, m, s]` to `[n, k, g · m, s]` and `[n, k, g · m, 1]`.
pub(crate) fn masked_softmax(
    products: &Tensor<4>,
    mask: &Tensor<3>,
    scale: f32,
) -> (Tensor<4>, Tensor<4>) {
    if let Some(found) = cube_kernels::masked_softmax(products, mask, scale) {
        return found;
    }
    let scores = scores(products, mask, scale);
    let largest = scores.clone().max_dim(3);
    let weights = (scores - largest.clone()).exp();
    let sums = weights.clone().sum_dim(3);
    ((weights / sums.clone()).cast(products.dtype()), largest + sums.log())
}

/// The weights again, and the gradient of `products` for that of the weights.
///
/// # Shapes
///
/// As of [`masked_softmax`].
pub(crate) fn masked_softmax_backward(
    [products, log_sums, grad]: [&Tensor<4>; 3],
    mask: &Tensor<3>,
    scale: f32,
) -> [Tensor<4>; 2] {
    if let Some(found) =
        cube_kernels::masked_softmax_backward([products, log_sums, grad], mask, scale)
    {
        return found;
    }
    let format = products.dtype();
    let weights = (scores(products, mask, scale) - log_sums.clone()).exp();
    let of_weights = widened(grad.clone()) * weights.clone();
    let means = of_weights.clone().sum_dim(3);
    let of_scores = of_weights - weights.clone() * means;
    [weights.cast(format), (of_scores * scale).cast(format)]
}

/// At least in single precision.
fn scores(products: &Tensor<4>, mask: &Tensor<3>, scale: f32) -> Tensor<4> {
    let ([sequences, _, stacked, keys], [_, rows, _]) = (products.dims(), mask.dims());
    let products_shape = products.dims();
    let scores = widened(products.clone()) * scale;
    let mask = mask.clone().cast(scores.dtype()).unsqueeze_dim(1);
    let heads = products_shape[1] * stacked / rows;
    (scores.reshape([sequences, heads, rows, keys]) + mask).reshape(products_shape)
}
