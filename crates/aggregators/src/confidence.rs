//! Likelihood of texts under a model, and selection by it.

use preceptor_core::{AbstainReason, Aggregate, Rollout, Seed};

use crate::best::best;
use crate::outcome::{abstained, chosen, flag, free};

/// Returns the mean natural log-probability of the rollout's tokens under the unmodified distribution; the
/// end token counts where one was sampled. None where there are no log-probabilities.
pub(crate) fn mean_logprob(rollout: &Rollout) -> Option<f64> {
    mean(&rollout.logprobs)
}

/// Returns the mean of log-probabilities; none if there are none.
pub(crate) fn mean(logprobs: &[f32]) -> Option<f64> {
    let sum: f64 = logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
    (!logprobs.is_empty()).then(|| sum / logprobs.len() as f64)
}

/// Returns the rollout of the lowest perplexity, given each one's mean log-probability; ties are broken at random. Where
/// none has one the group abstains for `missing`.
pub(crate) fn lowest_perplexity(
    rollouts: &[Rollout],
    mean_logprobs: &[Option<f64>],
    seed: Seed,
    missing: AbstainReason,
) -> Aggregate {
    let Some(choice) = best(mean_logprobs, seed) else {
        let is_empty = rollouts.is_empty();
        return abstained(if is_empty { AbstainReason::EmptyGroup } else { missing });
    };
    let highest = mean_logprobs[choice.index].expect("the chosen one has a number");
    // Sorted, so that the sum does not depend on the order.
    let mut perplexities: Vec<f64> = mean_logprobs.iter().flatten().map(|l| (-l).exp()).collect();
    perplexities.sort_by(f64::total_cmp);
    free(
        chosen(&rollouts[choice.index]),
        [
            ("perplexity", (-highest).exp()),
            ("mean-perplexity", perplexities.iter().sum::<f64>() / perplexities.len() as f64),
            ("num-scored", perplexities.len() as f64),
            ("tied", flag(choice.tied)),
        ],
    )
}
