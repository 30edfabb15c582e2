//! The gated activation and its gradient on GPUs.

use burn::backend::Cube;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;

use super::Activation;
use crate::ops::autodiff_node::{Gradient, primitive, record, track, value};
use crate::ops::gpu_support::{
    Burn, allocate, burn_tensor, cube_tensor, rows_and_width, with_dense_rows,
};

/// Returns the activation of `x` and its slope there.
#[cube]
fn activated(x: f32, #[comptime] is_silu: bool) -> (f32, f32) {
    if is_silu {
        let sigmoid = 1.0f32 / (1.0f32 + (-x).exp());
        (x * sigmoid, sigmoid * (1.0f32 + x * (1.0f32 - sigmoid)))
    } else {
        // √(2/π), and the factor of the cubic term.
        let (inner, cubic) = (0.797_884_56f32, 0.044_715f32);
        let z = inner * (x + cubic * x * x * x);
        // tanh that does not overflow.
        let tanh = 1.0f32 - 2.0f32 / (1.0f32 + (2.0f32 * z).exp());
        let inner_slope = inner * (1.0f32 + 3.0f32 * cubic * x * x);
        let slope = 0.5f32 * (1.0f32 + tanh) + 0.5f32 * x * (1.0f32 - tanh * tanh) * inner_slope;
        (0.5f32 * x * (1.0f32 + tanh), slope)
    }
}

#[cube(launch)]
fn gated_kernel<T: Float>(
    gate_up: &Tensor<T>,
    output: &mut Tensor<T>,
    #[comptime] is_silu: bool,
    #[define(T)] _format: ElemType,
) {
    let (rows, width) = (output.shape(0), output.shape(1));
    if ABSOLUTE_POS >= rows * width {
        terminate!();
    }
    let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    let gate = row * gate_up.stride(0) + column;
    let (activated, _) = activated(f32::cast_from(gate_up[gate]), is_silu);
    output[ABSOLUTE_POS] = T::cast_from(activated * f32::cast_from(gate_up[gate + width]));
}

/// Computes the gated activation of a GPU tensor; under autodiff, as one node.
pub(super) fn gated(gate_up: &Burn<2>, activation: Activation) -> Option<Burn<2>> {
    if !gate_up.is_autodiff() {
        return forward(gate_up, activation);
    }
    let input = track::<Cube, 2>(gate_up)?;
    let gate_up = value::<Cube, 2>(&input);
    let output = forward(&gate_up, activation)?;
    Some(record::<Cube, _, 1, 2>([input], BackwardState { gate_up, activation }, output))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    gate_up: Burn<2>,
    activation: Activation,
}

impl Gradient<Cube, 1> for BackwardState {
    fn backward(self, grad: FloatTensor<Cube>, _: [bool; 1]) -> [Option<FloatTensor<Cube>>; 1] {
        let found = backward(&self.gate_up, &burn_tensor(grad), self.activation);
        [found.map(primitive::<Cube, 2>)]
    }
}

fn forward(gate_up: &Burn<2>, activation: Activation) -> Option<Burn<2>> {
    let gate_up = with_dense_rows(cube_tensor(gate_up)?);
    let [rows, width] = rows_and_width(&gate_up);
    let output = allocate(&gate_up, [rows, width / 2], gate_up.dtype);
    let (client, format) = (gate_up.client.clone(), dtype_to_storage_type(gate_up.dtype));
    let units = rows * width / 2;
    let dim = CubeDim::new(&client, units);
    gated_kernel::launch(
        &client,
        calculate_cube_count_elemwise(&client, units, dim),
        dim,
        gate_up.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        activation == Activation::Silu,
        format,
    );
    Some(burn_tensor(output))
}

#[cube(launch)]
fn gated_backward_kernel<T: Float>(
    gate_up: &Tensor<T>,
    grad: &Tensor<T>,
    output: &mut Tensor<T>,
    #[comptime] is_silu: bool,
    #[define(T)] _format: ElemType,
) {
    let (rows, width) = (output.shape(0), output.shape(1) / 2);
    if ABSOLUTE_POS >= rows * width {
        terminate!();
    }
    let (row, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    let gate = row * gate_up.stride(0) + column;
    let (activated, slope) = activated(f32::cast_from(gate_up[gate]), is_silu);
    let of_output = f32::cast_from(grad[row * grad.stride(0) + column]);
    let to = row * 2 * width + column;
    let of_gate = of_output * f32::cast_from(gate_up[gate + width]) * slope;
    output[to] = T::cast_from(of_gate);
    output[to + width] = T::cast_from(of_output * activated);
}

/// Computes the gradient of the input from that of the output.
fn backward(gate_up: &Burn<2>, grad: &Burn<2>, activation: Activation) -> Option<Burn<2>> {
    let [gate_up, grad] = [cube_tensor(gate_up)?, cube_tensor(grad)?].map(with_dense_rows);
    let [rows, width] = rows_and_width(&gate_up);
    let output = allocate(&gate_up, [rows, width], gate_up.dtype);
    let (client, format) = (gate_up.client.clone(), dtype_to_storage_type(gate_up.dtype));
    let units = rows * width / 2;
    let dim = CubeDim::new(&client, units);
    gated_backward_kernel::launch(
        &client,
        calculate_cube_count_elemwise(&client, units, dim),
        dim,
        gate_up.into_tensor_arg(),
        grad.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        activation == Activation::Silu,
        format,
    );
    Some(burn_tensor(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gpu_support::testing::{compare, gpu, with_gaps};

    #[test]
    fn rows_of_any_width_agree_with_plain_operations() {
        let Some(device) = gpu() else { return };
        for (rows, width) in [(1, 6), (5, 130), (70, 576)] {
            for activation in [Activation::Silu, Activation::GeluTanh] {
                compare(
                    with_gaps([rows, 2 * width], [rows, width], &device),
                    |x| gated(x, activation).expect("on a GPU"),
                    |x| super::super::gated(x, activation),
                );
            }
        }
    }
}
