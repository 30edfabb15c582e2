//! `single`: one rollout of the group, by a uniform draw.
//!
//! The baseline: what one sample is worth. The draw is seeded and uniform over the group; the first
//! rollout is no better than the others, but always taking it would make the baseline depend on
//! nothing but stream 0.
//!
//! Measures: none.

use std::collections::BTreeMap;

use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, AggregateRequest, Aggregator, Needs, Origin,
    PortError, PseudoReference, Settings, Usage,
};
use serde::{Deserialize, Serialize};

/// Settings of [`Single`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "single";
    const SUMMARY: &'static str = "one rollout, drawn uniformly: the baseline";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Draws one rollout.
#[derive(Clone, Debug)]
pub struct Single;

impl Single {
    /// Creates the aggregator of `config`.
    pub fn new(_config: &Config) -> Self {
        Self
    }
}

impl Aggregator for Single {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        Ok(requests.iter().map(aggregate_one).collect())
    }
}

fn aggregate_one(request: &AggregateRequest<'_>) -> Aggregate {
    let rollouts = &request.group.rollouts;
    let outcome = if rollouts.is_empty() {
        AggregateOutcome::Abstained(AbstainReason::EmptyGroup)
    } else {
        let drawn = &rollouts[request.seed.draw_below(rollouts.len() as u64) as usize];
        AggregateOutcome::Estimated(PseudoReference {
            text: drawn.text.clone(),
            origin: Origin::Rollout(drawn.index),
        })
    };
    Aggregate { outcome, measures: BTreeMap::new(), replies: Vec::new(), usage: Usage::default() }
}

#[cfg(test)]
mod tests {
    use preceptor_core::Seed;
    use preceptor_testkit::group;

    use super::*;

    #[test]
    fn every_rollout_is_drawn_about_equally_often() {
        let group = group(&["a", "b", "c", "d"]);
        let mut counts = [0; 4];
        for run in 0..4000 {
            let request = AggregateRequest { group: &group, seed: Seed::root(run) };
            let AggregateOutcome::Estimated(reference) = aggregate_one(&request).outcome else {
                panic!("a group with rollouts has a single");
            };
            let Origin::Rollout(index) = reference.origin else { panic!("it is a rollout") };
            counts[index as usize] += 1;
        }
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_empty_group_has_no_single() {
        let group = group(&[]);
        let request = AggregateRequest { group: &group, seed: Seed::root(0) };
        let expected = AggregateOutcome::Abstained(AbstainReason::EmptyGroup);
        assert_eq!(aggregate_one(&request).outcome, expected);
    }
}
