//! The softmax of masked scores.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;

use super::{Burn, UNITS, bare, cube_fold, cube_row, cubes, empty, in_rows, wrapped};

/// Below every score: of a key that is not seen.
const UNSEEN: f32 = -1e30;

/// A score with what is added to it.
#[cube]
fn score(product: f32, scale: f32, mask: f32) -> f32 {
    // Infinities stay out of arithmetic.
    select(mask < 0.0f32, UNSEEN, product * scale)
}

/// The row of this cube, of all heads of all sequences, and where its mask begins.
#[cube]
fn row_and_mask<T: Float>(products: &Tensor<T>, mask: &Tensor<f32>) -> (usize, usize) {
    let (heads, stacked) = (products.shape(1), products.shape(2));
    let row = cube_row(products.shape(0) * heads * stacked);
    let (sequence, len) = (row / (heads * stacked), mask.shape(1));
    (row, (sequence * len + row % stacked % len) * mask.stride(1))
}

#[cube(launch)]
fn masked_softmax_kernel<T: Float>(
    products: &Tensor<T>,
    mask: &Tensor<f32>,
    weights: &mut Tensor<T>,
    log_sums: &mut Tensor<f32>,
    scale: f32,
    #[comptime] units: u32,
    #[define(T)] _format: ElemType,
) {
    let mut parts = Shared::new_slice(units as usize);
    let (row, first_mask) = row_and_mask::<T>(products, mask);
    let keys = products.shape(3);
    let (first, to) = (row * products.stride(2), row * keys);
    let mut largest = f32::new(UNSEEN);
    let mut key = UNIT_POS_X as usize;
    while key < keys {
        let found = score(f32::cast_from(products[first + key]), scale, mask[first_mask + key]);
        largest = max(largest, found);
        key += units as usize;
    }
    let largest = cube_fold(largest, &mut parts, units, false);
    let mut sum = 0.0f32;
    let mut key = UNIT_POS_X as usize;
    while key < keys {
        let found = score(f32::cast_from(products[first + key]), scale, mask[first_mask + key]);
        sum += (found - largest).exp();
        key += units as usize;
    }
    let sum = cube_fold(sum, &mut parts, units, true);
    let mut key = UNIT_POS_X as usize;
    while key < keys {
        let found = score(f32::cast_from(products[first + key]), scale, mask[first_mask + key]);
        weights[to + key] = T::cast_from((found - largest).exp() / sum);
        key += units as usize;
    }
    if UNIT_POS_X == 0 {
        log_sums[row] = largest + sum.ln();
    }
}

/// See [`crate::masked_softmax::masked_softmax`].
pub(crate) fn masked_softmax(
    products: &Burn<4>,
    mask: &Burn<3>,
    scale: f32,
) -> Option<(Burn<4>, Burn<4>)> {
    let shape = products.dims();
    let [products, mask] = [bare(products)?, bare(mask)?].map(in_rows);
    let weights = empty(&products, shape, products.dtype);
    let log_sums = empty(&products, [shape[0], shape[1], shape[2], 1], DType::F32);
    let (client, format) = (products.client.clone(), dtype_to_storage_type(products.dtype));
    masked_softmax_kernel::launch(
        &client,
        cubes(shape[0] * shape[1] * shape[2]),
        CubeDim::new_1d(UNITS),
        products.into_tensor_arg(),
        mask.into_tensor_arg(),
        weights.clone().into_tensor_arg(),
        log_sums.clone().into_tensor_arg(),
        scale,
        UNITS,
        format,
    );
    Some((wrapped(weights), wrapped(log_sums)))
}

#[cube(launch)]
fn masked_softmax_backward_kernel<T: Float>(
    products: &Tensor<T>,
    mask: &Tensor<f32>,
    log_sums: &Tensor<f32>,
    grad: &Tensor<T>,
    weights: &mut Tensor<T>,
    of_products: &mut Tensor<T>,
    scale: f32,
    #[comptime] units: u32,
    #[define(T)] _format: ElemType,
) {
    let mut parts = Shared::new_slice(units as usize);
    let (row, first_mask) = row_and_mask::<T>(products, mask);
    let keys = products.shape(3);
    let (first, to) = (row * products.stride(2), row * keys);
    let first_grad = row * grad.stride(2);
    let log_sum = log_sums[row];
    let mut mean = 0.0f32;
    let mut key = UNIT_POS_X as usize;
    while key < keys {
        let found = score(f32::cast_from(products[first + key]), scale, mask[first_mask + key]);
        let weight = (found - log_sum).exp();
        weights[to + key] = T::cast_from(weight);
        mean += weight * f32::cast_from(grad[first_grad + key]);
        key += units as usize;
    }
    let mean = cube_fold(mean, &mut parts, units, true);
    let mut key = UNIT_POS_X as usize;
    while key < keys {
        let found = score(f32::cast_from(products[first + key]), scale, mask[first_mask + key]);
        let weight = (found - log_sum).exp();
        let of_score = weight * (f32::cast_from(grad[first_grad + key]) - mean);
        of_products[to + key] = T::cast_from(of_score * scale);
        key += units as usize;
    }
}

/// See [`crate::masked_softmax::masked_softmax_backward`].
pub(crate) fn masked_softmax_backward(
    [products, log_sums, grad]: [&Burn<4>; 3],
    mask: &Burn<3>,
    scale: f32,
) -> Option<[Burn<4>; 2]> {
    let shape = products.dims();
    let [products, grad, mask] = [bare(products)?, bare(grad)?, bare(mask)?].map(in_rows);
    let log_sums = into_contiguous(bare(log_sums)?);
    let weights = empty(&products, shape, products.dtype);
    let of_products = empty(&products, shape, products.dtype);
    let (client, format) = (products.client.clone(), dtype_to_storage_type(products.dtype));
    masked_softmax_backward_kernel::launch(
        &client,
        cubes(shape[0] * shape[1] * shape[2]),
        CubeDim::new_1d(UNITS),
        products.into_tensor_arg(),
        mask.into_tensor_arg(),
        log_sums.into_tensor_arg(),
        grad.into_tensor_arg(),
        weights.clone().into_tensor_arg(),
        of_products.clone().into_tensor_arg(),
        scale,
        UNITS,
        format,
    );
    Some([wrapped(weights), wrapped(of_products)])
}
