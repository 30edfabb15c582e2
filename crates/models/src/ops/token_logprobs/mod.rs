//! Log-probabilities of tokens under an output matrix, with logits for a part of the rows at a time.

mod cpu;
mod in_parts;
mod targets;

use burn::tensor::{Tensor, activation};
use burn_flex::Flex;

use super::convert::{to_vec, widen};
use super::linear::Linear;

pub use targets::Targets;
pub(crate) use targets::shape_row;

/// Computes the log-probabilities of `targets` under a head, and the entropy (in nats) of each row's
/// distribution.
///
/// # Shapes
///
/// `[r, d]` to `[r]` and `r` values.
pub(crate) fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Linear,
    targets: &Targets,
) -> (Tensor<1>, Vec<f32>) {
    if hidden.is_autodiff()
        && let Some(result) = recorded(hidden, &head.to_tensor(), targets)
    {
        return result;
    }
    let parts = targets.parts(head.shape()[0]).map(|part| {
        let rows = hidden.clone().narrow(0, part.start, part.len());
        plain_token_logprobs(widen(head.forward(&rows)), &targets.slice(part))
    });
    let (logprobs, entropies): (Vec<_>, Vec<_>) = parts.unzip();
    if logprobs.is_empty() {
        plain_token_logprobs(widen(head.forward(hidden)), targets)
    } else {
        (Tensor::cat(logprobs, 0), entropies.concat())
    }
}

/// Records the operation as one node of the autodiff graph.
fn recorded(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Targets,
) -> Option<(Tensor<1>, Vec<f32>)> {
    if let Some(result) = cpu::token_logprobs(hidden, head, targets) {
        return Some(result);
    }
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(result) = in_parts::token_logprobs::<burn::backend::Cube>(hidden, head, targets) {
        return Some(result);
    }
    in_parts::token_logprobs::<Flex>(hidden, head, targets)
}

/// Computes the same from logits `[r, v]`, in burn operations.
pub(crate) fn plain_token_logprobs(logits: Tensor<2>, targets: &Targets) -> (Tensor<1>, Vec<f32>) {
    let logprobs = activation::log_softmax(targets.shaped(logits), 1);
    let value = logprobs.clone().without_autodiff();
    let entropies = (value.clone().exp() * value).sum_dim(1).neg();
    let index = targets.index_n1(&logprobs.device().inner());
    (logprobs.gather(1, index).reshape([targets.len()]), to_vec(entropies))
}
