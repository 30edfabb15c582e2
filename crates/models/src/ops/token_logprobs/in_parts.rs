//! Log-probabilities of tokens in burn operations on any backend as one node: logits are computed for a
//! part of the rows at a time, and again for the gradient.
//!
//! Plain burn operations keep every row's logits, and several copies of them, until the backward
//! pass. For a row's logits `z`, with `L = ln Σ exp z`, the log-probability of token `t` is
//! `z_t - L`, the entropy is `L - Σ softmax(z) z`, and the gradient of the logits is
//! `g (onehot(t) - softmax(z))`.
//!
//! Shapes: `r` rows, `n` rows of a part, `d` hidden size, `v` vocabulary.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::Targets;
use crate::ops::autodiff_node::{Gradient, primitive, record, track_all, value};
use crate::ops::convert::{to_vec, widen};

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    hidden_rd: Tensor<2>,
    head_vd: Tensor<2>,
    targets: Targets,
    /// `L` of each row.
    sums_r1: Tensor<2>,
}

impl BackwardState {
    fn hidden_nd(&self, part: &Range<usize>) -> Tensor<2> {
        self.hidden_rd.clone().narrow(0, part.start, part.len())
    }

    fn logits_nv(&self, part: &Range<usize>) -> Tensor<2> {
        let logits = widen(self.hidden_nd(part).matmul(self.head_vd.clone().transpose()));
        self.targets.slice(part.clone()).shaped(logits)
    }

    fn targets_n1(&self, part: &Range<usize>) -> Tensor<2, Int> {
        self.targets.slice(part.clone()).index_n1(&self.hidden_rd.device())
    }

    /// Computes the gradients of hidden states and head from those of the log-probabilities, `[r, 1]`.
    fn gradients(&self, grad_r1: &Tensor<2>) -> [Tensor<2>; 2] {
        let mut hidden_grads = Vec::new();
        let mut head_grad: Option<Tensor<2>> = None;
        for part in self.targets.parts(self.head_vd.dims()[0]) {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, part.start, part.len());
            let grad_n1 = rows(grad_r1) * self.targets.scale();
            let softmax_nv = (self.logits_nv(&part) - rows(&self.sums_r1)).exp();
            let logits_grad_nv = (softmax_nv * grad_n1.clone().neg()).scatter(
                1,
                self.targets_n1(&part),
                grad_n1,
                IndexingUpdateOp::Add,
            );
            let logits_grad_nv = logits_grad_nv.cast(self.head_vd.dtype());
            let grad_vd = logits_grad_nv.clone().transpose().matmul(self.hidden_nd(&part));
            let grad_vd = widen(grad_vd);
            head_grad = Some(match head_grad {
                Some(sum) => sum + grad_vd,
                None => grad_vd,
            });
            hidden_grads.push(logits_grad_nv.matmul(self.head_vd.clone()));
        }
        let hidden_grad = if hidden_grads.is_empty() {
            self.hidden_rd.zeros_like()
        } else {
            Tensor::cat(hidden_grads, 0)
        };
        let head_grad = head_grad.map(|grad| grad.cast(self.head_vd.dtype()));
        [hidden_grad, head_grad.unwrap_or_else(|| self.head_vd.zeros_like())]
    }
}

impl<B: Backend> Gradient<B, 2> for BackwardState
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn backward(self, grad: FloatTensor<B>, _: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        let grad = Tensor::<1>::from_primitive::<B>(grad);
        self.gradients(&grad.unsqueeze_dim(1)).map(|grad| Some(primitive::<B, 2>(grad)))
    }
}

/// Computes the log-probabilities of `targets`, and the entropies (in nats) of their distributions, of
/// hidden states `[r, d]` under a head `[v, d]`, if one of them is under autodiff on backend `B`.
pub(crate) fn token_logprobs<B: Backend>(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Targets,
) -> Option<(Tensor<1>, Vec<f32>)>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let inputs = track_all::<B, 2>([hidden, head])?;
    let [hidden_rd, head_vd] = inputs.each_ref().map(value::<B, 2>);
    let empty = Tensor::zeros([0, 1], &hidden_rd.device());
    let mut state = BackwardState { hidden_rd, head_vd, targets: targets.clone(), sums_r1: empty };
    let (mut logprobs, mut sums) = (Vec::new(), Vec::new());
    let mut entropies = Vec::with_capacity(targets.len());
    for part in targets.parts(head.dims()[0]) {
        let logits_nv = state.logits_nv(&part);
        let largest_n1 = logits_nv.clone().max_dim(1);
        let logits_nv = logits_nv - largest_n1.clone();
        let weights_nv = logits_nv.clone().exp();
        let sum_n1 = weights_nv.clone().sum_dim(1);
        let log_sum_n1 = sum_n1.clone().log();
        let mean_n1 = (weights_nv * logits_nv.clone()).sum_dim(1) / sum_n1;
        entropies.extend(to_vec(log_sum_n1.clone() - mean_n1));
        logprobs.push(logits_nv.gather(1, state.targets_n1(&part)) - log_sum_n1.clone());
        sums.push(log_sum_n1 + largest_n1);
    }
    let all_r1 = |parts: Vec<Tensor<2>>, empty: &Tensor<2>| {
        if parts.is_empty() { empty.clone() } else { Tensor::cat(parts, 0) }
    };
    let logprobs_r1 = all_r1(logprobs, &state.sums_r1);
    state.sums_r1 = all_r1(sums, &state.sums_r1);
    let output = logprobs_r1.reshape([targets.len()]);
    Some((record::<B, _, 2, 1>(inputs, state, output), entropies))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use burn_flex::Flex;

    use super::*;
    use crate::ops::token_logprobs::plain_token_logprobs;

    #[test]
    fn values_and_gradients_agree_with_plain_operations() {
        let plain = Targets::new(vec![3, 0, 40, 3, 17]);
        let kept: Vec<Vec<u32>> =
            vec![vec![3, 1], vec![0], vec![5, 40, 7, 9], (0..41).collect(), vec![17, 16, 0]];
        for targets in [
            plain.clone(),
            plain.clone().with_distribution(0.7, Vec::new()),
            plain.clone().with_distribution(1.0, kept.clone()),
            plain.with_distribution(0.6, kept),
        ] {
            agree(&targets);
        }
    }

    /// Runs both ways for the targets of five rows.
    fn agree(targets: &Targets) {
        let normal = Distribution::Normal(0.0, 1.0);
        let weights = Tensor::<1>::from_data([0.5, -1.0, 2.0, 0.0, 1.5], &Device::flex());
        let hidden = Tensor::<2>::random([5, 8], normal, &Device::flex());
        let head = Tensor::<2>::random([41, 8], normal, &Device::flex());
        let run = |in_parts: bool| {
            let [hidden, head] = [&hidden, &head].map(|x| x.clone().autodiff().require_grad());
            let (logprobs, entropies) = if in_parts {
                token_logprobs::<Flex>(&hidden, &head, targets).expect("under autodiff")
            } else {
                let plain = hidden.clone().matmul(head.clone().transpose());
                plain_token_logprobs(plain, targets)
            };
            let loss = (logprobs.clone() * weights.clone().autodiff()).sum();
            let mut gradients = loss.backward();
            let of = [&hidden, &head]
                .map(|x| to_vec(x.grad_remove(&mut gradients).expect("it is a leaf")));
            [vec![to_vec(logprobs.without_autodiff()), entropies], of.to_vec()].concat()
        };
        for (found, expected) in run(true).into_iter().zip(run(false)) {
            assert_eq!(found.len(), expected.len());
            let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Values are up to about 10.
            assert!(far < 1e-5, "{far}");
        }
    }

    #[test]
    fn no_rows_give_empty_results() {
        let zeros = |shape| Tensor::<2>::zeros(shape, &Device::flex());
        let head = zeros([7, 4]).autodiff().require_grad();
        let (logprobs, entropies) =
            token_logprobs::<Flex>(&zeros([0, 4]), &head, &Targets::new(Vec::new()))
                .expect("one is under autodiff");
        assert_eq!((logprobs.dims(), entropies.len()), ([0], 0));
    }
}
