//! The rotary embedding on the CPU. Its gradient is the rotation by the opposite angles.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::RopeAngles;
use crate::kernels::{Isa, RowsMut, RowsRef, for_each_row, per_isa};
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{dense, filled_rows, on_cpu, primitive, rows, tracked};

/// Rotates the rows of a CPU tensor; under autodiff, as one node.
pub(super) fn rope(x: &Tensor<2>, angles: &RopeAngles) -> Option<Tensor<2>> {
    if let Some(x) = on_cpu(x) {
        return forward(x, angles);
    }
    let input = tracked(x)?;
    let output = forward(input.primitive().clone(), angles)?;
    let opposite = RopeAngles { cos: angles.cos.clone(), sin: angles.sin.clone().neg() };
    Some(record([input], BackwardState { opposite }, output))
}

fn forward(x: FlexTensor, angles: &RopeAngles) -> Option<Tensor<2>> {
    let [x, cos, sin] = [x, on_cpu(&angles.cos)?, on_cpu(&angles.sin)?].map(dense);
    let (x, cos, sin) = (rows(&x), rows(&cos), rows(&sin));
    Some(filled_rows(x.rows(), x.cols(), |out| rope_rows(Isa::best(), x, cos, sin, out)))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    opposite: RopeAngles,
}

impl Gradient<Flex, 1> for BackwardState {
    fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [forward(grad, &self.opposite).as_ref().map(primitive)]
    }
}

/// Rotates the two halves of each head by the row's angles.
fn rope_rows(isa: Isa, x: RowsRef<'_>, cos: RowsRef<'_>, sin: RowsRef<'_>, out: RowsMut) {
    for_each_row(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, x.cols()) };
        rope_row(isa, x.row(row), cos.row(row), sin.row(row), out);
    });
}

per_isa! {
    fn rope_row(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
        let half = cos.len();
        for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
            let (x1, x2) = x.split_at(half);
            let (out1, out2) = out.split_at_mut(half);
            for i in 0..half {
                out1[i] = x1[i] * cos[i] - x2[i] * sin[i];
                out2[i] = x2[i] * cos[i] + x1[i] * sin[i];
            }
        }
    }
}
