//! `weighted-majority`: votes over answer classes, each with the confidence of its rollout.
//!
//! ```text
//! w_i = exp( 1/|o_i| sum_t log p(o_i,t | q, o_i,<t) )        one over the perplexity, in (0, 1]
//! s   = the most confident rollout of  argmax_c sum_{i: answer(o_i) in c} w_i
//! ```
//!
//! Classes are those of `majority`; abstentions are none and never win. A rollout without
//! log-probabilities has no vote. Of the winning class the most confident rollout carries the answer.
//!
//! Measures: `num-voters`, `num-classes`, `weight-share` (of the winner over all weights), `margin`
//! (the winner's weight less the runner-up's, over all weights), `overturned` (1 if plain votes would
//! have elected another class alone), `tied`.
//!
//! Not in the paper: an extension (confidence-weighted self-consistency).

use preceptor_answers::{classify, extract_boxed};
use preceptor_core::{
    AbstainReason, Aggregate, AggregateRequest, Aggregator, Needs, PortError, Settings,
};
use serde::{Deserialize, Serialize};

use crate::best::best;
use crate::confidence::mean_logprob;
use crate::outcome::{abstained, chosen, flag, free};

/// Settings of [`WeightedMajority`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "weighted-majority";
    const SUMMARY: &'static str = "the final answer with the most confidence behind it";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Votes with confidence.
#[derive(Clone, Debug)]
pub struct WeightedMajority;

impl WeightedMajority {
    /// Creates the aggregator of `config`.
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

impl Aggregator for WeightedMajority {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        Ok(requests.iter().map(aggregate_one).collect())
    }
}

fn aggregate_one(request: &AggregateRequest<'_>) -> Aggregate {
    let rollouts = &request.group.rollouts;
    let weights: Vec<Option<f64>> =
        rollouts.iter().map(|rollout| mean_logprob(rollout).map(f64::exp)).collect();
    let answers: Vec<_> = rollouts.iter().map(|o| extract_boxed(&o.text).answer).collect();
    // Without a weight there is no vote.
    let voting = answers.iter().zip(&weights).map(|(answer, weight)| weight.and(answer.as_deref()));
    let voting: Vec<_> = voting.collect();
    let classes = classify(&voting);
    let parties: Vec<&[usize]> = classes
        .classes
        .iter()
        .filter(|class| !class.is_abstention())
        .map(|class| class.members.as_slice())
        .collect();
    let weight_of = |members: &[usize]| members.iter().filter_map(|&i| weights[i]).sum::<f64>();
    let totals: Vec<Option<f64>> = parties.iter().map(|members| Some(weight_of(members))).collect();
    let Some(winner) = best(&totals, request.seed) else {
        let answered = answers.iter().any(Option::is_some);
        return abstained(match (rollouts.is_empty(), answered) {
            (true, _) => AbstainReason::EmptyGroup,
            (false, true) => AbstainReason::NoLogprobs,
            (false, false) => AbstainReason::NoAnswer,
        });
    };
    let members = parties[winner.index];
    let of_members: Vec<_> = members.iter().map(|&i| weights[i]).collect();
    let carrier = best(&of_members, request.seed.derive("carrier")).expect("a class has members");
    let all: f64 = totals.iter().flatten().sum();
    let of_winner = totals[winner.index].unwrap_or(0.0);
    let rivals = totals.iter().enumerate().filter(|(index, _)| *index != winner.index);
    let runner_up = rivals.filter_map(|(_, total)| *total).fold(0.0, f64::max);
    let votes = members.len();
    free(
        chosen(&rollouts[members[carrier.index]]),
        [
            ("num-voters", parties.iter().map(|members| members.len()).sum::<usize>() as f64),
            ("num-classes", parties.len() as f64),
            ("weight-share", of_winner / all),
            ("margin", (of_winner - runner_up) / all),
            ("overturned", flag(parties.iter().any(|members| members.len() > votes))),
            ("tied", flag(winner.tied)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use preceptor_core::{AggregateOutcome, Group, Seed};
    use preceptor_testkit::boxed_group;

    use super::*;

    fn with_logprobs(answers: &[&str], logprobs: &[f32]) -> Group {
        let mut group = boxed_group(answers);
        for (rollout, logprob) in group.rollouts.iter_mut().zip(logprobs) {
            rollout.logprobs = vec![*logprob];
        }
        group
    }

    #[test]
    fn confidence_can_overturn_a_plain_majority() {
        let group = with_logprobs(&["1", "1", "2"], &[-3.0, -3.0, -0.1]);
        let aggregate = aggregate_one(&AggregateRequest { group: &group, seed: Seed::root(0) });
        let AggregateOutcome::Estimated(reference) = &aggregate.outcome else { panic!() };
        assert!(reference.text.contains("{2}"));
        assert_eq!(aggregate.measures["overturned"], 1.0);
        let all = (-0.1_f64).exp() + 2.0 * (-3.0_f64).exp();
        let share = f64::from(-0.1_f32).exp() / all;
        assert!((aggregate.measures["weight-share"] - share).abs() < 1e-6);
    }

    #[test]
    fn equal_confidence_is_plain_majority_over_classes() {
        let group = with_logprobs(&["3", "0.5", r"\frac{1}{2}"], &[-1.0, -1.0, -2.0]);
        let aggregate = aggregate_one(&AggregateRequest { group: &group, seed: Seed::root(0) });
        let AggregateOutcome::Estimated(reference) = &aggregate.outcome else { panic!() };
        assert!(reference.text.contains("0.5"), "the most confident carrier: {reference:?}");
        assert_eq!(aggregate.measures["overturned"], 0.0);
    }

    #[test]
    fn without_logprobs_or_answers_there_is_no_vote() {
        let mut group = boxed_group(&["1"]);
        group.rollouts[0].logprobs.clear();
        let outcome =
            |group: &Group| aggregate_one(&AggregateRequest { group, seed: Seed::root(0) }).outcome;
        assert_eq!(outcome(&group), AggregateOutcome::Abstained(AbstainReason::NoLogprobs));
        let silent = preceptor_testkit::group(&["no idea"]);
        assert_eq!(outcome(&silent), AggregateOutcome::Abstained(AbstainReason::NoAnswer));
    }
}
