//! `answer-match`: 1 if a rollout has the pseudo-reference's final answer.
//!
//! ```text
//! r(o) = 1 if answer(o) equals answer(s), else 0
//! ```
//!
//! Extraction and equality are a grader profile's; the pseudo-reference's answer replaces the
//! label. A rollout or pseudo-reference without a final answer gives 0, and the reason says so. Without
//! a pseudo-reference there is no reward.
//!
//! Measures: `answered` (share of rollouts with an answer; absent for an empty group),
//! `reference-answered` (1 or 0).
//!
//! Differs from the paper: it compares the last boxed expressions as strings, here `grader = "string"`
//! with `extraction = "last-box"`; the default compares values, and reads announced answers too.

use preceptor_answers::{ExtractionRule, GraderProfile};
use preceptor_core::{
    GroupReward, Needs, OutOfRange, PortError, PseudoReference, RewardDeriver, RewardRequest,
    Settings, UnrewardedReason,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{free, mean, measure, rewarded};

/// The part of a text that is its final answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerExtraction {
    /// As the grader finds it.
    #[default]
    Grader,
    /// The last boxed expression, and nothing else.
    LastBox,
}

/// Settings of [`AnswerMatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Grader that finds and compares answers: `string`, `hendrycks`, `prm800k`, `minerva`, `dapo` or
    /// `verify`. Default: `verify` (our choice; paper: `string`).
    pub grader: GraderProfile,
    /// Part that holds the answer: `grader`, as the grader finds it, or `last-box`, the last boxed expression
    /// alone, which needs a grader that reads boxes. Default: `grader` (our choice; paper: `last-box`).
    #[serde(skip_serializing_if = "is_default")]
    pub extraction: AnswerExtraction,
}

fn is_default(extraction: &AnswerExtraction) -> bool {
    *extraction == AnswerExtraction::default()
}

impl Default for Config {
    fn default() -> Self {
        Self { grader: GraderProfile::Verify, extraction: AnswerExtraction::Grader }
    }
}

impl Settings for Config {
    const NAME: &'static str = "answer-match";
    const SUMMARY: &'static str = "1 if the final answer equals the pseudo-reference's, else 0";
    const NEEDS: Needs = Needs::REFERENCE;

    fn check(&self) -> Result<(), OutOfRange> {
        let reads_boxes = self.grader.extract(r"\boxed{1}").rule == ExtractionRule::Box;
        let is_allowed = self.extraction != AnswerExtraction::LastBox || reads_boxes;
        let allowed = "`grader`, because this grader reads no boxes";
        OutOfRange::check("extraction", "last-box", is_allowed, allowed)
    }
}

/// Compares final answers.
#[derive(Clone, Debug)]
pub struct AnswerMatch {
    grader: GraderProfile,
    extraction: AnswerExtraction,
}

impl AnswerMatch {
    /// Creates the deriver of `config`.
    pub fn new(config: &Config) -> Self {
        Self { grader: config.grader, extraction: config.extraction }
    }

    fn answer(&self, text: &str) -> Option<String> {
        let found = self.grader.extract(text);
        match self.extraction {
            AnswerExtraction::LastBox if found.rule != ExtractionRule::Box => None,
            _ => found.answer,
        }
    }

    fn derive_one(&self, request: &RewardRequest<'_>, reference: &PseudoReference) -> GroupReward {
        let wanted = self.answer(&reference.text);
        let mut answered = Vec::new();
        let rewards = request.group.rollouts.iter().map(|rollout| {
            let answer = self.answer(&rollout.text);
            answered.push(f64::from(u8::from(answer.is_some())));
            match (&answer, &wanted) {
                (None, _) => rewarded(0.0, "the rollout has no final answer"),
                (_, None) => rewarded(0.0, "the pseudo-reference has no final answer"),
                (Some(answer), Some(wanted)) => {
                    let grade = self.grader.grade(wanted, Some(answer));
                    rewarded(f64::from(u8::from(grade.equal)), grade.reason)
                }
            }
        });
        let rewards = rewards.collect();
        let reference_answered = f64::from(u8::from(wanted.is_some()));
        let mut derived = free(rewards, [("reference-answered", reference_answered)]);
        measure(&mut derived.measures, "answered", mean(&answered));
        derived
    }
}

impl RewardDeriver for AnswerMatch {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let derived = requests.iter().map(|request| match request.reference {
            Some(reference) => self.derive_one(request, reference),
            None => {
                let num_rollouts = request.group.rollouts.len();
                GroupReward::unrewarded(num_rollouts, UnrewardedReason::NoReference)
            }
        });
        Ok(derived.collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Group, Origin, RewardValue, Seed};
    use preceptor_testkit::{boxed_group, group};
    use proptest::prelude::*;

    use super::*;
    use crate::permuting;

    fn derive(grader: GraderProfile, group: &Group, reference: Option<&str>) -> GroupReward {
        let reference = reference.map(reference_of);
        let request = RewardRequest { group, reference: reference.as_ref(), seed: Seed::root(0) };
        AnswerMatch::new(&Config { grader, ..Config::default() })
            .derive(&[request])
            .unwrap()
            .remove(0)
    }

    fn reference_of(text: &str) -> PseudoReference {
        PseudoReference { text: text.to_owned(), origin: Origin::Written }
    }

    fn values(derived: &GroupReward) -> Vec<Option<f64>> {
        derived.rewards.iter().map(|reward| reward.value.value()).collect()
    }

    #[test]
    fn equal_answers_are_rewarded_by_the_profiles_notion() {
        let group = boxed_group(&["0.5", r"\frac{1}{2}", "2"]);
        let reference = Some(r"Thus \boxed{\frac{1}{2}}.");
        let derived = derive(GraderProfile::Verify, &group, reference);
        assert_eq!(values(&derived), [Some(1.0), Some(1.0), Some(0.0)]);
        assert_eq!(derived.rewards[0].reason, "both are the rational 1/2");
        let derived = derive(GraderProfile::String, &group, reference);
        assert_eq!(values(&derived), [Some(0.0), Some(1.0), Some(0.0)]);
    }

    #[test]
    fn the_papers_extraction_reads_boxes_alone() {
        let config =
            Config { grader: GraderProfile::String, extraction: AnswerExtraction::LastBox };
        let group = group(&["The final answer is 4.", r"\boxed{3} or \boxed{4}", r"\boxed{4.0}"]);
        let reference = reference_of(r"\boxed{4}");
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
        let derived = AnswerMatch::new(&config).derive(&[request]).unwrap().remove(0);
        assert_eq!(values(&derived), [Some(0.0), Some(1.0), Some(0.0)]);
        let by_grader = derive(GraderProfile::String, &group, Some(r"\boxed{4}"));
        assert_eq!(values(&by_grader), [Some(1.0), Some(1.0), Some(0.0)]);
    }

    #[test]
    fn a_missing_answer_is_a_zero_with_its_reason() {
        let derived = derive(GraderProfile::Verify, &group(&["hm", r"\boxed{1}"]), Some("hm"));
        assert_eq!(values(&derived), [Some(0.0), Some(0.0)]);
        assert_eq!(derived.rewards[0].reason, "the rollout has no final answer");
        assert_eq!(derived.rewards[1].reason, "the pseudo-reference has no final answer");
        assert_eq!(
            (derived.measures["answered"], derived.measures["reference-answered"]),
            (0.5, 0.0)
        );
    }

    #[test]
    fn without_a_pseudo_reference_there_is_no_reward() {
        let derived = derive(GraderProfile::Verify, &boxed_group(&["1", "2"]), None);
        let unrewarded = RewardValue::Unrewarded(UnrewardedReason::NoReference);
        assert!(derived.rewards.iter().all(|reward| reward.value == unrewarded));
    }

    proptest! {
        #[test]
        fn rewards_are_0_or_1_and_follow_their_rollouts(
            answers in prop::collection::vec("[0-3]|x|", 0..6),
            wanted in "[0-3]",
            shuffle: u64,
        ) {
            let answers: Vec<_> = answers.iter().map(String::as_str).collect();
            let group = boxed_group(&answers);
            let reference = reference_of(&format!(r"\boxed{{{wanted}}}"));
            let deriver = AnswerMatch::new(&Config::default());
            permuting::check(&deriver, &group, Some(&reference), shuffle);
            let derived = derive(GraderProfile::Verify, &group, Some(&reference.text));
            for (answer, value) in answers.iter().zip(values(&derived)) {
                prop_assert_eq!(value, Some(if *answer == wanted { 1.0 } else { 0.0 }));
            }
        }
    }
}
