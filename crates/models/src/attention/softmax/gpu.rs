//! The softmax of masked scores and its gradient on GPUs.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;

use crate::ops::gpu_support::{
    Burn, UNITS, allocate, burn_tensor, cube_fold, cube_row, cube_tensor, cubes, with_dense_rows,
};

/// The score of a masked key, below every other.
const MASKED: f32 = -1e30;

/// Returns a scaled and masked score.
#[cube]
fn score(product: f32, scale: f32, mask: f32) -> f32 {
    // Infinities stay out of arithmetic.
    select(mask < 0.0f32, MASKED, product * scale)
}

/// Returns the row of this cube, of all heads of all sequences, and the first index of its mask.
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
    let mut largest = f32::new(MASKED);
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

/// Computes the softmax of GPU tensors; see [`super::masked_softmax`].
pub(super) fn masked_softmax(
    products: &Burn<4>,
    mask: &Burn<3>,
    scale: f32,
) -> Option<(Burn<4>, Burn<4>)> {
    let shape = products.dims();
    let [products, mask] = [cube_tensor(products)?, cube_tensor(mask)?].map(with_dense_rows);
    let weights = allocate(&products, shape, products.dtype);
    let log_sums = allocate(&products, [shape[0], shape[1], shape[2], 1], DType::F32);
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
    Some((burn_tensor(weights), burn_tensor(log_sums)))
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

/// Computes the gradient on GPU tensors; see [`super::masked_softmax_backward`].
pub(super) fn masked_softmax_backward(
    [products, log_sums, grad]: [&Burn<4>; 3],
    mask: &Burn<3>,
    scale: f32,
) -> Option<[Burn<4>; 2]> {
    let shape = products.dims();
    let [products, grad, mask] =
        [cube_tensor(products)?, cube_tensor(grad)?, cube_tensor(mask)?].map(with_dense_rows);
    let log_sums = into_contiguous(cube_tensor(log_sums)?);
    let weights = allocate(&products, shape, products.dtype);
    let of_products = allocate(&products, shape, products.dtype);
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
    Some([burn_tensor(weights), burn_tensor(of_products)])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::attention::softmax;
    use crate::ops::gpu_support::testing::{assert_close, gpu, random, to_device};

    #[test]
    fn masked_softmax_and_its_gradient_agree_with_plain_operations() {
        let Some(device) = gpu() else { return };
        let (sequences, heads, group, rows) = (3, 2, 2, 5);
        for keys in [5, 129, 300] {
            let shape = [sequences, heads, group * rows, keys];
            let (products, grad) = (random(shape), random(shape));
            // Row m of a sequence sees the first keys - rows + m + 1 of them.
            let mask = (0..sequences * rows * keys).map(|i| {
                let (row, key) = (i / keys % rows, i % keys);
                if key + rows <= keys + row { 0.0 } else { f32::NEG_INFINITY }
            });
            let mask = TensorData::new(mask.collect::<Vec<f32>>(), [sequences, rows, keys]);
            let [on_gpu, mask] =
                [&device, &Device::flex()].map(|device| Burn::<3>::from_data(mask.clone(), device));
            // Keys of a larger block: rows have gaps between them.
            let gaps = Burn::cat(vec![products.clone(), random(shape)], 3);
            let on_gpu_products = to_device(&gaps, &device).narrow(3, 0, keys);
            let (weights, sums) = masked_softmax(&on_gpu_products, &on_gpu, 0.3).expect("on a GPU");
            let (expected, expected_sums) = softmax::masked_softmax(&products, &mask, 0.3);
            assert_close(&weights, &expected);
            assert_close(&sums, &expected_sums);
            let read = [&on_gpu_products, &sums, &to_device(&grad, &device)];
            let found = masked_softmax_backward(read, &on_gpu, 0.3).expect("on a GPU");
            let read = [&products, &expected_sums, &grad];
            let expected = softmax::masked_softmax_backward(read, &mask, 0.3);
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(found, expected);
            }
        }
    }
}
