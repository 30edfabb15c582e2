//! `min-ppl`: the rollout that its own policy found likeliest, token for token.
//!
//! ```text
//! s = argmin_i  exp( -1/|o_i| sum_t log p(o_i,t | q, o_i,<t) )
//! ```
//!
//! The log-probabilities are those kept with the rollout, of the unmodified distribution; the end
//! token counts where one was sampled. A rollout without log-probabilities can't win. Ties, which
//! need bit-identical sums, are broken at random.
//!
//! Measures: `perplexity` (of the chosen), `mean-perplexity` (over rollouts that have one),
//! `num-scored`, `tied`.
//!
//! Differs from the paper: whether the end token counts is not stated there.

use preceptor_core::{
    AbstainReason, Aggregate, AggregateRequest, Aggregator, Needs, PortError, Settings,
};
use serde::{Deserialize, Serialize};

use crate::confidence::{lowest_perplexity, mean_logprob};

/// Settings of [`MinPpl`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "min-ppl";
    const SUMMARY: &'static str = "the rollout of the lowest perplexity under its own policy";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Chooses by perplexity.
#[derive(Clone, Debug)]
pub struct MinPpl;

impl MinPpl {
    /// Creates the aggregator of `config`.
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

impl Aggregator for MinPpl {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        Ok(requests.iter().map(aggregate_one).collect())
    }
}

fn aggregate_one(request: &AggregateRequest<'_>) -> Aggregate {
    let rollouts = &request.group.rollouts;
    let logprobs: Vec<Option<f64>> = rollouts.iter().map(mean_logprob).collect();
    lowest_perplexity(rollouts, &logprobs, request.seed, AbstainReason::NoLogprobs)
}

#[cfg(test)]
mod tests {
    use preceptor_core::{AggregateOutcome, Origin, Seed};
    use preceptor_testkit::group;
    use proptest::prelude::*;

    use super::*;

    fn of(logprobs: &[&[f32]]) -> Aggregate {
        let mut group = group(&vec!["text"; logprobs.len()]);
        for (rollout, logprobs) in group.rollouts.iter_mut().zip(logprobs) {
            rollout.text = format!("text {}", rollout.index);
            rollout.logprobs = logprobs.to_vec();
        }
        aggregate_one(&AggregateRequest { group: &group, seed: Seed::root(0) })
    }

    fn origin(aggregate: &Aggregate) -> Origin {
        match &aggregate.outcome {
            AggregateOutcome::Estimated(reference) => reference.origin,
            AggregateOutcome::Abstained(reason) => panic!("{reason:?}"),
        }
    }

    #[test]
    fn length_does_not_count_and_the_mean_decides() {
        let aggregate = of(&[&[-0.5], &[-0.25, -0.25, -0.25, -0.25], &[-1.0, 0.0]]);
        assert_eq!(origin(&aggregate), Origin::Rollout(1));
        assert!((aggregate.measures["perplexity"] - 0.25_f64.exp()).abs() < 1e-12);
        assert_eq!(aggregate.measures["tied"], 0.0);
    }

    #[test]
    fn rollouts_without_logprobs_cannot_win() {
        let aggregate = of(&[&[], &[-9.0]]);
        assert_eq!(origin(&aggregate), Origin::Rollout(1));
        assert_eq!(aggregate.measures["num-scored"], 1.0);
        let none = of(&[&[], &[]]);
        assert_eq!(none.outcome, AggregateOutcome::Abstained(AbstainReason::NoLogprobs));
    }

    proptest! {
        #[test]
        fn permuting_the_group_changes_no_aggregate_without_a_tie(
            logprobs in prop::collection::vec(-5.0_f32..0.0, 1..8),
            shuffle in any::<u64>(),
        ) {
            let mut group = group(&vec!["text"; logprobs.len()]);
            for (rollout, logprob) in group.rollouts.iter_mut().zip(&logprobs) {
                rollout.text = format!("text {}", rollout.index);
                rollout.logprobs = vec![*logprob];
            }
            let mut permuted = group.clone();
            permuted.rollouts.sort_by_key(|o| Seed::root(shuffle).derive_index(o.index.into()));
            let seed = Seed::root(1);
            let first = aggregate_one(&AggregateRequest { group: &group, seed });
            let second = aggregate_one(&AggregateRequest { group: &permuted, seed });
            prop_assume!(first.measures["tied"] == 0.0);
            prop_assert_eq!(first, second);
        }
    }
}
