//! `medoid`: the rollout that agrees most with the others.
//!
//! ```text
//! s = argmax_i  1/(G-1) sum_{j != i} agreement(o_i, o_j)
//! ```
//!
//! `agreement = "text"` is Dice's coefficient over words and pairs of words (file `similarity.rs`);
//! `agreement = "answer"` is 1 if both give the same final answer, else 0, where a missing answer
//! agrees with nothing. Ties are broken at random. One rollout alone agrees with itself.
//!
//! Measures: `agreement` (of the chosen), `mean-agreement` (over the group), `tied`.
//!
//! Not in the paper: an extension (minimum Bayes risk decoding with this utility).

use preceptor_answers::{classify, extract_boxed};
use preceptor_core::{
    AbstainReason, Aggregate, AggregateRequest, Aggregator, Needs, PortError, Rollout, Settings,
};
use preceptor_text::without_thoughts;
use serde::{Deserialize, Serialize};

use crate::best::best;
use crate::outcome::{abstained, chosen, flag, free};
use crate::similarity::Features;

/// Part of two rollouts that is compared.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// Their words.
    #[default]
    Text,
    /// Their final answers.
    Answer,
}

/// Settings of [`Medoid`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Part of two rollouts that is compared: `text` or `answer`. Default: `text` (our choice).
    pub agreement: Agreement,
}

impl Settings for Config {
    const NAME: &'static str = "medoid";
    const SUMMARY: &'static str = "the rollout that agrees most with the others";
    const NEEDS: Needs = Needs::NOTHING;
}

/// Chooses the most central rollout.
#[derive(Clone, Debug)]
pub struct Medoid {
    agreement: Agreement,
}

impl Medoid {
    /// Creates the aggregator of `config`.
    pub fn new(config: &Config) -> Self {
        Self { agreement: config.agreement }
    }

    fn aggregate_one(&self, request: &AggregateRequest<'_>) -> Aggregate {
        let rollouts = &request.group.rollouts;
        if rollouts.is_empty() {
            return abstained(AbstainReason::EmptyGroup);
        }
        let pairwise = self.pairwise(rollouts);
        let others = (rollouts.len() - 1) as f64;
        let mean = |i: usize| match rollouts.len() {
            1 => 1.0,
            _ => {
                (0..rollouts.len()).filter(|&j| j != i).map(|j| pairwise(i, j)).sum::<f64>()
                    / others
            }
        };
        let means: Vec<Option<f64>> = (0..rollouts.len()).map(|i| Some(mean(i))).collect();
        let choice = best(&means, request.seed).expect("a group with rollouts has a medoid");
        free(
            chosen(&rollouts[choice.index]),
            [
                ("agreement", means[choice.index].unwrap_or(0.0)),
                ("mean-agreement", means.iter().flatten().sum::<f64>() / means.len() as f64),
                ("tied", flag(choice.tied)),
            ],
        )
    }

    /// Returns the agreement of two rollouts.
    fn pairwise(&self, rollouts: &[Rollout]) -> Box<dyn Fn(usize, usize) -> f64> {
        match self.agreement {
            Agreement::Text => {
                let said = rollouts.iter().map(|rollout| without_thoughts(&rollout.text));
                let features: Vec<_> = said.map(|text| Features::of(&text)).collect();
                Box::new(move |i, j| features[i].similarity(&features[j]))
            }
            Agreement::Answer => {
                let answers: Vec<_> =
                    rollouts.iter().map(|o| extract_boxed(&o.text).answer).collect();
                let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
                let classes = classify(&answers);
                let class_of: Vec<Option<usize>> = classes
                    .class_of
                    .iter()
                    .map(|&class| (!classes.classes[class].is_abstention()).then_some(class))
                    .collect();
                Box::new(move |i, j| flag(class_of[i].is_some() && class_of[i] == class_of[j]))
            }
        }
    }
}

impl Aggregator for Medoid {
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError> {
        Ok(requests.iter().map(|request| self.aggregate_one(request)).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{AggregateOutcome, Group, Origin, Seed};
    use preceptor_testkit::{boxed_group, group};

    use super::*;

    fn origin(agreement: Agreement, group: &Group) -> (Origin, f64) {
        let request = AggregateRequest { group, seed: Seed::root(0) };
        let aggregate = Medoid::new(&Config { agreement }).aggregate_one(&request);
        let AggregateOutcome::Estimated(reference) = &aggregate.outcome else { panic!() };
        (reference.origin, aggregate.measures["agreement"])
    }

    #[test]
    fn the_text_nearest_to_the_others_wins() {
        let group =
            group(&["drink water and rest", "rest", "drink water and rest well", "see zebras"]);
        assert_eq!(origin(Agreement::Text, &group).0, Origin::Rollout(0));
    }

    #[test]
    fn answers_agree_by_value_and_missing_ones_with_nothing() {
        let group = boxed_group(&["7", "0.5", r"\frac12", ""]);
        let (chosen, agreement) = origin(Agreement::Answer, &group);
        assert!(matches!(chosen, Origin::Rollout(1 | 2)));
        assert!((agreement - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_rollout_is_its_own_medoid() {
        assert_eq!(origin(Agreement::Text, &group(&["alone"])), (Origin::Rollout(0), 1.0));
    }
}
