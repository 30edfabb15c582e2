//! The norm and its gradients on GPUs.

use burn::backend::Cube;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;

use crate::ops::autodiff_node::{Gradient, primitive, record, track, value};
use crate::ops::gpu_support::{
    Burn, UNITS, allocate, burn_tensor, cube_fold, cube_row, cube_tensor, cubes, rows_and_width,
    with_dense_rows,
};

/// `1 / sqrt(mean(x²) + eps)` of a row.
#[cube]
fn inverse_norm<T: Float>(
    x: &Tensor<T>,
    first: usize,
    width: usize,
    eps: f32,
    parts: &mut Shared<[f32]>,
    #[comptime] units: u32,
) -> f32 {
    let mut squares = 0.0f32;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let value = f32::cast_from(x[first + column]);
        squares += value * value;
        column += units as usize;
    }
    let mean = cube_fold(squares, parts, units, true) / f32::cast_from(width);
    1.0f32 / (mean + eps).sqrt()
}

#[cube(launch)]
fn rms_norm_kernel<T: Float>(
    x: &Tensor<T>,
    weight: &Tensor<f32>,
    output: &mut Tensor<T>,
    eps: f32,
    #[comptime] units: u32,
    #[define(T)] _format: ElemType,
) {
    let mut parts = Shared::new_slice(units as usize);
    let (rows, width) = (output.shape(0), output.shape(1));
    let row = cube_row(rows);
    let first = row * x.stride(0);
    let scale = inverse_norm::<T>(x, first, width, eps, &mut parts, units);
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let value = f32::cast_from(x[first + column]) * scale * weight[column];
        output[row * width + column] = T::cast_from(value);
        column += units as usize;
    }
}

/// Computes the norm of GPU tensors; under autodiff, as one node.
pub(super) fn rms_norm(x: &Burn<2>, weight: &Burn<1>, eps: f64) -> Option<Burn<2>> {
    if !x.is_autodiff() && !weight.is_autodiff() {
        return forward(x, weight, eps);
    }
    let inputs = [track::<Cube, 2>(x)?, track::<Cube, 1>(weight)?];
    let (x, weight) = (value::<Cube, 2>(&inputs[0]), value::<Cube, 1>(&inputs[1]));
    let output = forward(&x, &weight, eps)?;
    Some(record::<Cube, _, 2, 2>(inputs, BackwardState { x, weight, eps }, output))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    x: Burn<2>,
    weight: Burn<1>,
    eps: f64,
}

impl Gradient<Cube, 2> for BackwardState {
    fn backward(
        self,
        grad: FloatTensor<Cube>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<Cube>>; 2] {
        let (x, normed) = backward(&self.x, &self.weight, burn_tensor(grad), self.eps);
        let weight = || primitive::<Cube, 1>(normed.sum_dim(0).squeeze_dim(0));
        [Some(primitive::<Cube, 2>(x)), wanted[1].then(weight)]
    }
}

fn forward(x: &Burn<2>, weight: &Burn<1>, eps: f64) -> Option<Burn<2>> {
    let (x, weight) = (with_dense_rows(cube_tensor(x)?), into_contiguous(cube_tensor(weight)?));
    let [rows, width] = rows_and_width(&x);
    let output = allocate(&x, [rows, width], x.dtype);
    let (client, format) = (x.client.clone(), dtype_to_storage_type(x.dtype));
    rms_norm_kernel::launch(
        &client,
        cubes(rows),
        CubeDim::new_1d(UNITS),
        x.into_tensor_arg(),
        weight.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        eps as f32,
        UNITS,
        format,
    );
    Some(burn_tensor(output))
}

#[cube(launch)]
fn rms_norm_backward_kernel<T: Float>(
    x: &Tensor<T>,
    weight: &Tensor<f32>,
    grad: &Tensor<T>,
    x_grad: &mut Tensor<T>,
    normed: &mut Tensor<f32>,
    eps: f32,
    #[comptime] units: u32,
    #[define(T)] _format: ElemType,
) {
    let mut parts = Shared::new_slice(units as usize);
    let (rows, width) = (x_grad.shape(0), x_grad.shape(1));
    let row = cube_row(rows);
    let (first, first_grad) = (row * x.stride(0), row * grad.stride(0));
    let scale = inverse_norm::<T>(x, first, width, eps, &mut parts, units);
    let mut products = 0.0f32;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let value = f32::cast_from(x[first + column]);
        let of_output = f32::cast_from(grad[first_grad + column]);
        products += of_output * weight[column] * value;
        normed[row * width + column] = of_output * value * scale;
        column += units as usize;
    }
    let mean = cube_fold(products, &mut parts, units, true) / f32::cast_from(width);
    let along = mean * scale * scale;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let value = f32::cast_from(x[first + column]);
        let of_output = f32::cast_from(grad[first_grad + column]) * weight[column];
        let found = scale * (of_output - along * value);
        x_grad[row * width + column] = T::cast_from(found);
        column += units as usize;
    }
}

/// Computes the gradient of `x` from that of the output, and the rows whose sum is the gradient of the
/// weight.
fn backward(x: &Burn<2>, weight: &Burn<1>, grad: Burn<2>, eps: f64) -> (Burn<2>, Burn<2>) {
    let [x, grad] = [x, &grad].map(|x| with_dense_rows(primitive::<Cube, 2>(x.clone())));
    let weight = into_contiguous(primitive::<Cube, 1>(weight.clone()));
    let [rows, width] = rows_and_width(&x);
    let x_grad = allocate(&x, [rows, width], x.dtype);
    let normed = allocate(&x, [rows, width], DType::F32);
    let (client, format) = (x.client.clone(), dtype_to_storage_type(x.dtype));
    rms_norm_backward_kernel::launch(
        &client,
        cubes(rows),
        CubeDim::new_1d(UNITS),
        x.into_tensor_arg(),
        weight.into_tensor_arg(),
        grad.into_tensor_arg(),
        x_grad.clone().into_tensor_arg(),
        normed.clone().into_tensor_arg(),
        eps as f32,
        UNITS,
        format,
    );
    (burn_tensor(x_grad), burn_tensor(normed))
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::ops::gpu_support::testing::{
        assert_close, compare, gpu, random, to_device, with_gaps,
    };

    #[test]
    fn rows_of_any_width_agree_with_plain_operations() {
        let Some(device) = gpu() else { return };
        for (rows, width) in [(1, 6), (5, 130), (70, 576)] {
            let inputs = with_gaps([rows, width], [rows, width], &device);
            let weight = random([width]);
            let [on_gpu, wide] = [to_device(&weight, &device), weight.cast(DType::F64)];
            compare(
                inputs,
                |x| rms_norm(x, &on_gpu, 1e-5).expect("on a GPU"),
                |x| super::super::rms_norm(x, &wide, 1e-5),
            );
        }
    }

    #[test]
    fn the_weight_gets_the_gradient_of_plain_operations() {
        let Some(device) = gpu() else { return };
        let (x, grad, weight) = (random([70, 130]), random([70, 130]), random([130]));
        let run = |x: Burn<2>, grad: Burn<2>, weight: Burn<1>| {
            let weight = weight.autodiff().require_grad();
            let y = super::super::rms_norm(&x.autodiff(), &weight, 1e-5);
            let mut gradients = (y * grad.autodiff()).sum().backward();
            weight.grad_remove(&mut gradients).expect("it is a leaf")
        };
        let [x_gpu, grad_gpu] = [&x, &grad].map(|x| to_device(x, &device));
        let found = run(x_gpu, grad_gpu, to_device(&weight, &device));
        let expected = run(x.cast(DType::F64), grad.cast(DType::F64), weight.cast(DType::F64));
        assert_close(&found, &expected);
    }
}
