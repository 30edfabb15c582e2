//! Gradients of the row-wise operations. Sums over rows run from the first row down, whatever the
//! number of threads.

use super::elementwise::{Activation, GELU_CUBE, GELU_SCALE, by_rows};
use super::exp::exp_f32;
use super::isa::per_isa;
use super::softmax::sum_lanes;
use super::{Isa, LANES, LogSumExp, RowsMut, RowsRef, for_each_task};

/// Columns of a weight's gradient that one task sums.
const COLUMNS: usize = 64;

/// Gradients of `y = x · s · weight`, `s = 1 / sqrt(mean(x²) + eps)`: writes that of `x`, returns that
/// of `weight`.
pub(crate) fn rms_norm_backward(
    isa: Isa,
    x: RowsRef<'_>,
    weight: &[f32],
    eps: f32,
    grad: RowsRef<'_>,
    x_grad: RowsMut,
) -> Vec<f32> {
    let mut scales = vec![0.0_f32; x.rows()];
    let scale = RowsMut::new(&mut scales, 1);
    by_rows(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let (scale, out) = unsafe { (scale.slice(row, 0, 1), x_grad.slice(row, 0, x.cols())) };
        scale[0] = rms_norm_row_backward(isa, x.row(row), weight, eps, grad.row(row), out);
    });
    let mut weight_grad = vec![0.0_f32; x.cols()];
    let columns = RowsMut::new(&mut weight_grad, x.cols());
    for_each_task(x.cols().div_ceil(COLUMNS), x.rows() * x.cols() >= 1 << 16, |task| {
        let first = task * COLUMNS;
        let len = COLUMNS.min(x.cols() - first);
        // SAFETY: each task has its own columns.
        let out = unsafe { columns.slice(0, first, len) };
        for (row, scale) in scales.iter().enumerate() {
            add_products(
                isa,
                &x.row(row)[first..][..len],
                &grad.row(row)[first..][..len],
                *scale,
                out,
            );
        }
    });
    weight_grad
}

per_isa! {
    fn rms_norm_row_backward(x: &[f32], weight: &[f32], eps: f32, grad: &[f32], out: &mut [f32]) -> f32 {
        let (mut squares, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for ((x, weight), grad) in x.chunks(LANES).zip(weight.chunks(LANES)).zip(grad.chunks(LANES)) {
            for i in 0..x.len() {
                squares[i] = x[i].mul_add(x[i], squares[i]);
                products[i] = (x[i] * weight[i]).mul_add(grad[i], products[i]);
            }
        }
        let scale = 1.0 / (sum_lanes(&squares) / x.len() as f32 + eps).sqrt();
        let shift = sum_lanes(&products) * scale * scale * scale / x.len() as f32;
        for (((out, x), weight), grad) in out.iter_mut().zip(x).zip(weight).zip(grad) {
            *out = (scale * weight) * grad - shift * x;
        }
        scale
    }
}

per_isa! {
    fn add_products(x: &[f32], grad: &[f32], scale: f32, out: &mut [f32]) {
        for ((out, x), grad) in out.iter_mut().zip(x).zip(grad) {
            *out += (x * scale) * grad;
        }
    }
}

/// Gradient of `activation(gate) · up` with respect to rows that hold gate, then up.
pub(crate) fn gated_backward(
    isa: Isa,
    activation: Activation,
    gate_up: RowsRef<'_>,
    grad: RowsRef<'_>,
    out: RowsMut,
) {
    let width = grad.cols();
    by_rows(grad.rows(), width, |row| {
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

/// Turns each row of logits into the gradient of `weight · log p(target)`.
pub(crate) fn softmax_backward(isa: Isa, logits: RowsMut, rows: &[(LogSumExp, u32, f32)]) {
    by_rows(rows.len(), logits.cols(), |row| {
        let (sum, target, weight) = rows[row];
        // SAFETY: each row is written by one task.
        let row = unsafe { logits.slice(row, 0, logits.cols()) };
        softmax_row_backward(isa, row, sum.shift(), weight);
        row[target as usize] += weight;
    });
}

per_isa! {
    fn softmax_row_backward(row: &mut [f32], shift: f32, weight: f32) {
        for value in row {
            *value = -weight * exp_f32(*value - shift);
        }
    }
}
