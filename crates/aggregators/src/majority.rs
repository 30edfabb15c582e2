//! `majority`: the most common final answer, and a rollout that carries it.
//!
//! ```text
//! s = any rollout of  argmax_c |{ i : answer(o_i) in c }|      over answer classes c
//! ```
//!
//! Votes are counted over classes of equivalent answers (`answers::classify`), so that `0.5` and
//! `\frac{1}{2}` vote together. A rollout without a final answer abstains: abstentions are no class
//! and never win. The class with the most votes wins; among equally large ones a seeded uniform
//! draw decides, and which of its rollouts becomes the pseudo-reference is a seeded draw too.
//!
//! Measures: `num-voters` (rollouts with an answer), `num-classes`, `vote-share` (votes of the
//! winner over all rollouts), `margin` (winner's votes less the runner-up's, over all rollouts),
//! `entropy` (of the votes over classes, natural logarithm, abstentions left out), `tied` (1 if a
//! draw decided).
//!
//! Differs from the paper: it counts equal strings; TTRL counts equal normalised strings and lets
//! missing answers vote.

use std::collections::BTreeMap;

use preceptor_answers::{AnswerClass, classify, extract_boxed};
use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Needs, Origin,
    PortError, PseudoReference, Settings, Usage,
};
use serde::{Deserialize, Serialize};

/// Settings of [`Majority`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "majority";
    const SUMMARY: &'static str = "a rollout with the most common final answer";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Votes over answer classes.
#[derive(Clone, Debug)]
pub struct Majority;

impl Majority {
    /// Creates the aggregator of `config`.
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

impl Aggregator for Majority {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        Ok(requests.iter().map(aggregate_one).collect())
    }
}

fn aggregate_one(request: &AggregateRequest<'_>) -> Aggregate {
    let rollouts = &request.group.rollouts;
    let answers: Vec<_> = rollouts.iter().map(|o| extract_boxed(&o.text).answer).collect();
    let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
    let classes = classify(&answers);

    let mut votes: Vec<usize> = classes
        .classes
        .iter()
        .filter(|class| !class.is_abstention())
        .map(AnswerClass::count)
        .collect();
    votes.sort_unstable_by(|a, b| b.cmp(a));
    let largest = classes.largest();
    if largest.is_empty() {
        let reason =
            if rollouts.is_empty() { AbstainReason::EmptyGroup } else { AbstainReason::NoAnswer };
        return Aggregate {
            outcome: AggregateOutcome::Abstained(reason),
            measures: measures(rollouts.len(), &votes, false),
            replies: Vec::new(),
            usage: Usage::default(),
        };
    }

    let drawn = request.seed.derive("tie").draw_below(largest.len() as u64) as usize;
    let winner = &classes.classes[largest[drawn]].members;
    let carrier = request.seed.derive("carrier").draw_below(winner.len() as u64) as usize;
    let rollout = &rollouts[winner[carrier]];
    let reference =
        PseudoReference { text: rollout.text.clone(), origin: Origin::Rollout(rollout.index) };
    Aggregate {
        outcome: AggregateOutcome::Estimated(reference),
        measures: measures(rollouts.len(), &votes, largest.len() > 1),
        replies: Vec::new(),
        usage: Usage::default(),
    }
}

/// Returns the measures; `votes` holds the size of each class, largest first.
fn measures(num_rollouts: usize, votes: &[usize], tied: bool) -> BTreeMap<String, f64> {
    let num_voters: usize = votes.iter().sum();
    let of_all = |count: usize| {
        if num_rollouts == 0 { 0.0 } else { count as f64 / num_rollouts as f64 }
    };
    let first = votes.first().copied().unwrap_or(0);
    let second = votes.get(1).copied().unwrap_or(0);
    let entropy: f64 = votes
        .iter()
        .map(|&count| count as f64 / num_voters as f64)
        .map(|share| -share * share.ln())
        .sum();
    BTreeMap::from([
        ("num-voters".to_owned(), num_voters as f64),
        ("num-classes".to_owned(), votes.len() as f64),
        ("vote-share".to_owned(), of_all(first)),
        ("margin".to_owned(), of_all(first - second)),
        ("entropy".to_owned(), entropy),
        ("tied".to_owned(), f64::from(u8::from(tied))),
    ])
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Group, Seed};
    use preceptor_testkit::{boxed_group, group};
    use proptest::prelude::*;

    use super::*;

    fn aggregate(group: &Group, run_seed: u64) -> Aggregate {
        aggregate_one(&AggregateRequest { group, seed: Seed::root(run_seed) })
    }

    fn origin(aggregate: &Aggregate) -> u32 {
        let AggregateOutcome::Estimated(reference) = &aggregate.outcome else {
            panic!("abstained: {aggregate:?}");
        };
        let Origin::Rollout(index) = reference.origin else { panic!("it is a rollout") };
        index
    }

    #[test]
    fn equal_answers_in_other_notations_vote_together() {
        let group = boxed_group(&["3", r"\frac{1}{2}", "0.5", "3", r"\frac12"]);
        let aggregate = aggregate(&group, 0);
        assert!([1, 2, 4].contains(&origin(&aggregate)));
        assert_eq!(aggregate.measures["num-classes"], 2.0);
        assert_eq!(aggregate.measures["vote-share"], 0.6);
        assert!((aggregate.measures["margin"] - 0.2).abs() < 1e-12);
        let entropy = -(0.6 * 0.6_f64.ln() + 0.4 * 0.4_f64.ln());
        assert!((aggregate.measures["entropy"] - entropy).abs() < 1e-12);
    }

    #[test]
    fn an_answer_in_a_thought_votes_if_none_is_given_outside() {
        let group = group(&[
            r"<think>\boxed{9}</think> \boxed{8}",
            r"<think>\boxed{8}</think> As shown above.",
            r"\boxed{9}",
        ]);
        let aggregate = aggregate(&group, 0);
        assert!([0, 1].contains(&origin(&aggregate)));
        assert_eq!(aggregate.measures["num-voters"], 3.0);
    }

    #[test]
    fn abstentions_never_win() {
        let group = group(&["I am not sure.", "No idea.", "Who knows?", r"\boxed{4}"]);
        let aggregate = aggregate(&group, 0);
        assert_eq!(origin(&aggregate), 3);
        assert_eq!(aggregate.measures["num-voters"], 1.0);
    }

    #[test]
    fn a_group_without_an_answer_has_no_pseudo_reference() {
        let group = group(&["I am not sure.", "No idea."]);
        let expected = AggregateOutcome::Abstained(AbstainReason::NoAnswer);
        assert_eq!(aggregate(&group, 0).outcome, expected);
    }

    #[test]
    fn ties_are_drawn_evenly_and_counted() {
        let group = boxed_group(&["1", "2", "2", "1", "3"]);
        let mut ones = 0;
        for run in 0..1000 {
            let aggregate = aggregate(&group, run);
            assert_eq!(aggregate.measures["tied"], 1.0);
            assert_eq!(aggregate.measures["margin"], 0.0);
            ones += u32::from([0, 3].contains(&origin(&aggregate)));
        }
        assert!((430..570).contains(&ones), "{ones}");
    }

    proptest! {
        #[test]
        fn without_a_tie_the_winning_answer_does_not_depend_on_the_order(
            answers in prop::collection::vec(0_u8..4, 1..9),
            shuffle in any::<u64>(),
        ) {
            let texts: Vec<_> = answers.iter().map(u8::to_string).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let first = aggregate(&boxed_group(&texts), 0);
            prop_assume!(first.measures["tied"] == 0.0);
            let mut order: Vec<_> = (0..texts.len()).collect();
            order.sort_by_key(|&i| Seed::root(shuffle).derive_index(i as u64));
            let shuffled: Vec<_> = order.iter().map(|&i| texts[i]).collect();
            let second = aggregate(&boxed_group(&shuffled), 0);
            prop_assert_eq!(texts[origin(&first) as usize], shuffled[origin(&second) as usize]);
            prop_assert_eq!(first.measures, second.measures);
        }
    }
}
