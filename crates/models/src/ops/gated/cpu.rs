//! The gated activation and its gradient on the CPU.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::Activation;
use crate::kernels::{Isa, RowsMut, RowsRef, exp_f32, for_each_row, per_isa};
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{dense, filled_rows, on_cpu, primitive, rows, tracked};

/// Computes the gated activation of a CPU tensor; under autodiff, as one node.
pub(super) fn gated(gate_up: &Tensor<2>, activation: Activation) -> Option<Tensor<2>> {
    if let Some(gate_up) = on_cpu(gate_up) {
        return Some(forward(&dense(gate_up), activation));
    }
    let input = tracked(gate_up)?;
    let gate_up = dense(input.primitive().clone());
    let output = forward(&gate_up, activation);
    Some(record([input], BackwardState { gate_up, activation }, output))
}

fn forward(gate_up: &FlexTensor, activation: Activation) -> Tensor<2> {
    let x = rows(gate_up);
    filled_rows(x.rows(), x.cols() / 2, |out| gated_rows(Isa::best(), activation, x, out))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    gate_up: FlexTensor,
    activation: Activation,
}

impl Gradient<Flex, 1> for BackwardState {
    fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let grad = dense(grad);
        let (gate_up, grad) = (rows(&self.gate_up), rows(&grad));
        let out = filled_rows(gate_up.rows(), gate_up.cols(), |out| {
            gated_backward(Isa::best(), self.activation, gate_up, grad, out);
        });
        [Some(primitive(&out))]
    }
}

/// `2 √(2/π)`.
const GELU_SCALE: f32 = 1.595_769_2;
const GELU_CUBE: f32 = 0.044_715;

/// `activation(gate) · up`, where a row of `gate_up` is all of gate, then all of up.
fn gated_rows(isa: Isa, activation: Activation, gate_up: RowsRef<'_>, out: RowsMut) {
    let width = gate_up.cols() / 2;
    for_each_row(gate_up.rows(), width, |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, width) };
        let (gate, up) = gate_up.row(row).split_at(width);
        match activation {
            Activation::Silu => silu_mul_row(isa, gate, up, out),
            Activation::GeluTanh => gelu_mul_row(isa, gate, up, out),
        }
    });
}

per_isa! {
    fn silu_mul_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp_f32(-gate)) * up;
        }
    }
}

per_isa! {
    fn gelu_mul_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let inner = GELU_SCALE * (gate + GELU_CUBE * (gate * gate * gate));
            *out = gate / (1.0 + exp_f32(-inner)) * up;
        }
    }
}

/// Gradient of `activation(gate) · up` with respect to rows that hold gate, then up.
fn gated_backward(
    isa: Isa,
    activation: Activation,
    gate_up: RowsRef<'_>,
    grad: RowsRef<'_>,
    out: RowsMut,
) {
    let width = grad.cols();
    for_each_row(grad.rows(), width, |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, 2 * width) };
        let ((gate, up), (gate_grad, up_grad)) =
            (gate_up.row(row).split_at(width), out.split_at_mut(width));
        let grad = grad.row(row);
        match activation {
            Activation::Silu => silu_mul_row_backward(isa, gate, up, grad, gate_grad, up_grad),
            Activation::GeluTanh => gelu_mul_row_backward(isa, gate, up, grad, gate_grad, up_grad),
        }
    });
}

per_isa! {
    fn gelu_mul_row_backward(gate: &[f32], up: &[f32], grad: &[f32], gate_grad: &mut [f32], up_grad: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(grad);
        for ((gate_grad, up_grad), ((gate, up), grad)) in gate_grad.iter_mut().zip(up_grad).zip(inputs) {
            let square = gate * gate;
            let inner = GELU_SCALE * (gate + GELU_CUBE * (square * gate));
            let slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * square);
            let sigmoid = 1.0 / (1.0 + exp_f32(-inner));
            let gelu = gate * sigmoid;
            *up_grad = grad * gelu;
            *gate_grad = (grad * up) * (sigmoid + gelu * (1.0 - sigmoid) * slope);
        }
    }
}

per_isa! {
    fn silu_mul_row_backward(gate: &[f32], up: &[f32], grad: &[f32], gate_grad: &mut [f32], up_grad: &mut [f32]) {
        let inputs = gate.iter().zip(up).zip(grad);
        for ((gate_grad, up_grad), ((gate, up), grad)) in gate_grad.iter_mut().zip(up_grad).zip(inputs) {
            let sigmoid = 1.0 / (1.0 + exp_f32(-gate));
            let silu = gate * sigmoid;
            *up_grad = grad * silu;
            *gate_grad = (grad * up) * (sigmoid + silu * (1.0 - sigmoid));
        }
    }
}
