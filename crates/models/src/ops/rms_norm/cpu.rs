//! The norm and its gradients on the CPU. Sums over rows run from the first row down, for any number of
//! threads.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use crate::kernels::{
    Isa, LANES, RowsMut, RowsRef, for_each_row, for_each_task, per_isa, sum_lanes,
};
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{
    both, dense, filled_rows, from_vec, on_cpu, primitive, rows, values,
};

/// Columns of a weight's gradient that one task sums.
const COLUMNS: usize = 64;

/// Computes the norm of CPU tensors; under autodiff, as one node.
pub(super) fn rms_norm(x: &Tensor<2>, weight: &Tensor<1>, eps: f64) -> Option<Tensor<2>> {
    let eps = eps as f32;
    if let (Some(x), Some(weight)) = (on_cpu(x), on_cpu(weight)) {
        return Some(forward(&dense(x), &dense(weight), eps));
    }
    let inputs = both(x, weight)?;
    let [x, weight] = inputs.each_ref().map(|input| dense(input.primitive().clone()));
    let output = forward(&x, &weight, eps);
    Some(record(inputs, BackwardState { x, weight, eps }, output))
}

fn forward(x: &FlexTensor, weight: &FlexTensor, eps: f32) -> Tensor<2> {
    let (x, weight) = (rows(x), values(weight));
    filled_rows(x.rows(), x.cols(), |out| rms_norm_rows(Isa::best(), x, weight, eps, out))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    x: FlexTensor,
    weight: FlexTensor,
    eps: f32,
}

impl Gradient<Flex, 2> for BackwardState {
    fn backward(self, grad: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let grad = dense(grad);
        let (x, weight, grad) = (rows(&self.x), values(&self.weight), rows(&grad));
        let mut weight_grad = Vec::new();
        let x_grad = filled_rows(x.rows(), x.cols(), |out| {
            weight_grad = rms_norm_backward(Isa::best(), x, weight, self.eps, grad, out);
        });
        let weight_grad: Tensor<1> = from_vec(weight_grad, [weight.len()], 0);
        [Some(primitive(&x_grad)), Some(primitive(&weight_grad))]
    }
}

/// `out = x / sqrt(mean(x²) + eps) · weight`.
fn rms_norm_rows(isa: Isa, x: RowsRef<'_>, weight: &[f32], eps: f32, out: RowsMut) {
    assert_eq!(x.cols(), weight.len(), "the norm weight has another width");
    for_each_row(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, x.cols()) };
        rms_norm_row(isa, x.row(row), weight, eps, out);
    });
}

per_isa! {
    fn rms_norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum = x.mul_add(*x, *sum);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum = x.mul_add(*x, *sum);
        }
        let scale = 1.0 / (sum_lanes(&sums) / x.len() as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x * scale) * weight;
        }
    }
}

/// Gradients of `y = x · s · weight`, `s = 1 / sqrt(mean(x²) + eps)`: writes that of `x` and returns
/// that of `weight`.
fn rms_norm_backward(
    isa: Isa,
    x: RowsRef<'_>,
    weight: &[f32],
    eps: f32,
    grad: RowsRef<'_>,
    x_grad: RowsMut,
) -> Vec<f32> {
    let mut scales = vec![0.0_f32; x.rows()];
    let scale = RowsMut::new(&mut scales, 1);
    for_each_row(x.rows(), x.cols(), |row| {
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
