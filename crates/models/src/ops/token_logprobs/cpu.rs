//! Log-probabilities on the CPU as one node: logits are computed for a part of the rows at a time, and
//! again for the gradient.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;

use super::Targets;
use crate::kernels::{
    Isa, LANES, LogSumExp, PackedMatrix, RowsMut, RowsRef, exp_f32, for_each_row, log_sum_exp,
    per_isa, sum_lanes,
};
use crate::ops::add::add;
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{both, dense, from_vec, primitive, rows, values, weight_gradient};

/// Computes the log-probabilities of `targets`, and the entropies of their distributions, of hidden
/// states `[r, d]` under a head `[v, d]`, if one of them is under autodiff on the CPU.
pub(super) fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Targets,
) -> Option<(Tensor<1>, Vec<f32>)> {
    let inputs = both(hidden, head)?;
    let hidden = dense(inputs[0].primitive().clone());
    let weight = inputs[1].primitive().to_contiguous();
    let [vocab, inner] = head.dims();
    let packed = Arc::new(PackedMatrix::rows(values(&weight), vocab, inner));
    let mut logprobs = Vec::with_capacity(targets.len());
    let mut entropies = Vec::with_capacity(targets.len());
    let mut sums = Vec::with_capacity(targets.len());
    for part in targets.parts(vocab) {
        let mut logits = packed.times(rows(&primitive(&row_range(&hidden, &part))));
        targets.shape_rows(part.start, &mut logits, vocab);
        let row_sums = log_sum_exps(Isa::best(), &logits, vocab);
        for ((logits, (sum, entropy)), target) in
            logits.chunks_exact(vocab).zip(row_sums).zip(&targets.tokens()[part])
        {
            logprobs.push(sum.logprob(logits[*target as usize]));
            entropies.push(entropy);
            sums.push(sum);
        }
    }
    let output: Tensor<1> = from_vec(logprobs, [targets.len()], 0);
    let state = BackwardState { hidden, head: weight, packed, sums, targets: targets.clone() };
    Some((record(inputs, state, output), entropies))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    hidden: FlexTensor,
    head: FlexTensor,
    packed: Arc<PackedMatrix>,
    sums: Vec<LogSumExp>,
    targets: Targets,
}

impl Gradient<Flex, 2> for BackwardState {
    fn backward(self, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let grad = dense(grad);
        let (hidden, head, grad) = (rows(&self.hidden), rows(&self.head), values(&grad));
        let packed_columns = wanted[0].then(|| PackedMatrix::columns(head));
        let mut hidden_grad = Vec::with_capacity(hidden.rows() * hidden.cols());
        let mut head_grad: Option<Tensor<2>> = None;
        for part in self.targets.parts(head.rows()) {
            let part_hidden = primitive(&row_range(&self.hidden, &part));
            let scale = self.targets.scale();
            let tokens = self.targets.tokens();
            let weighted: Vec<_> =
                part.clone().map(|row| (self.sums[row], tokens[row], grad[row] * scale)).collect();
            let mut data = self.packed.times(rows(&part_hidden));
            self.targets.shape_rows(part.start, &mut data, head.rows());
            softmax_backward(Isa::best(), RowsMut::new(&mut data, head.rows()), &weighted);
            let logits_grad = RowsRef::new(&data, part.len(), head.rows(), head.rows());
            if let Some(packed) = &packed_columns {
                hidden_grad.extend(packed.times(logits_grad));
            }
            if wanted[1] {
                let part = weight_gradient(logits_grad, rows(&part_hidden));
                head_grad = Some(match head_grad.take() {
                    Some(sum) => add(sum, part),
                    None => part,
                });
            }
        }
        let shape = [hidden.rows(), hidden.cols()];
        let hidden_grad = wanted[0].then(|| primitive(&from_vec(hidden_grad, shape, 0)));
        [hidden_grad, head_grad.as_ref().map(primitive)]
    }
}

fn row_range(x: &FlexTensor, range: &Range<usize>) -> Tensor<2> {
    Tensor::<2>::from_primitive::<Flex>(x.clone()).narrow(0, range.start, range.len())
}

/// Computes the log-sum-exp and the entropy (in nats) of every row of `logits`.
fn log_sum_exps(isa: Isa, logits: &[f32], vocab: usize) -> Vec<(LogSumExp, f32)> {
    logits
        .par_chunks_exact(vocab)
        .map(|logits| {
            let sum = log_sum_exp(isa, logits);
            (sum, entropy(isa, logits, sum.shift()))
        })
        .collect()
}

per_isa! {
    fn entropy(logits: &[f32], shift: f32) -> f32 {
        let mut sums = [0.0_f32; LANES];
        for logits in logits.chunks(LANES) {
            for (sum, logit) in sums.iter_mut().zip(logits) {
                let logprob = logit - shift;
                *sum = (-logprob).mul_add(exp_f32(logprob), *sum);
            }
        }
        sum_lanes(&sums)
    }
}

/// Replaces each row of logits by the gradient of `weight · log p(target)`.
fn softmax_backward(isa: Isa, logits: RowsMut, rows: &[(LogSumExp, u32, f32)]) {
    for_each_row(rows.len(), logits.cols(), |row| {
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
