//! `judge`: 1 if a judge finds a rollout equivalent to the pseudo-reference.
//!
//! ```text
//! r(o) = 1 if the judge says that o and s say the same, else 0
//! ```
//!
//! The judge gives one verdict per rollout. Without a pseudo-reference, or if the verdict is missing, there is no
//! reward.
//!
//! Measures: `failed-verdicts` (how many are missing).
//!
//! Differs from the paper: what the judge is asked is ours.

use preceptor_core::{
    Calls, Criterion, Digest, GroupReward, GroupShape, Judge, Judged, JudgedCriterion, Needs,
    PortError, PromptError, Reward, RewardDeriver, RewardRequest, Settings, UnrewardedReason,
    Verdict, VerdictRequest,
};
use serde::{Deserialize, Serialize};

use crate::each_rollout::{about_each, of_answers};
use crate::outcome::judged;

const CRITERION: &str = include_str!("../prompts/equivalence-v1.md");

/// Settings of [`JudgeEquivalence`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// A statement of your own that the judge checks; it may speak of "the response" and "the
    /// reference". Default: a built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Settings for Config {
    const NAME: &'static str = "judge";
    const SUMMARY: &'static str =
        "1 if the judge finds it equivalent to the pseudo-reference, else 0";
    const NEEDS: Needs = Needs::REFERENCE.union(Needs::JUDGE);

    fn prompt_digest(&self) -> Result<Option<Digest>, PromptError> {
        Ok(Some(Digest::of(statement(self).as_bytes())))
    }

    fn calls(&self, group: GroupShape) -> Calls {
        Calls::of_judge(1, group)
    }
}

/// Returns the statement that the judge of `config` is asked about: the built-in one or the user's own.
fn statement(config: &Config) -> &str {
    config.prompt_text.as_deref().unwrap_or(CRITERION).trim_end()
}

/// Equivalence by a judge.
pub struct JudgeEquivalence<'a> {
    criterion: Criterion,
    judge: &'a dyn Judge,
}

impl<'a> JudgeEquivalence<'a> {
    /// Creates the deriver of `config` that asks `judge`.
    pub fn new(config: &Config, judge: &'a dyn Judge) -> Self {
        Self { criterion: Criterion::new(statement(config)), judge }
    }

    fn reward(&self, judged_one: Judged<Verdict>) -> Reward {
        let (value, reason) = match judged_one.answer {
            Verdict::Met => (Ok(1.0), "equivalent to the pseudo-reference".to_owned()),
            Verdict::NotMet => (Ok(0.0), "not equivalent to the pseudo-reference".to_owned()),
            Verdict::Failed(failure) => (Err(failure), format!("no verdict: {}", failure.name())),
        };
        let criterion = self.criterion.clone();
        judged(value, reason, vec![JudgedCriterion::Verdict { criterion, judged: judged_one }])
    }
}

impl RewardDeriver for JudgeEquivalence<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let criteria = std::slice::from_ref(&self.criterion);
        let with_reference = requests.iter().filter_map(|r| Some((r.group, r.reference?)));
        let asked: Vec<VerdictRequest<'_>> = with_reference
            .flat_map(|(group, reference)| about_each(group, Some(&reference.text), criteria))
            .collect();
        let mut verdicts = self.judge.verdicts(&asked)?.into_iter().flatten();
        let of_group = |request: &RewardRequest<'_>| {
            let num_rollouts = request.group.rollouts.len();
            match request.reference {
                None => GroupReward::unrewarded(num_rollouts, UnrewardedReason::NoReference),
                Some(_) => {
                    let verdicts = verdicts.by_ref().take(num_rollouts);
                    of_answers(verdicts, |verdict| self.reward(verdict))
                }
            }
        };
        Ok(requests.iter().map(of_group).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{JudgeFailure, Origin, PseudoReference, RewardValue, Seed};
    use preceptor_judges::{LlmJudge, llm_judge};
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};
    use proptest::prelude::*;

    use super::*;
    use crate::permuting;

    fn reference() -> PseudoReference {
        PseudoReference { text: "take 5 mg".to_owned(), origin: Origin::Written }
    }

    #[test]
    fn verdicts_become_rewards_and_failures_do_not() {
        let judge = ScriptedJudge::new(|_, response| match response {
            "same" => Verdict::Met,
            "other" => Verdict::NotMet,
            _ => Verdict::Failed(JudgeFailure::Refused),
        });
        let (first, second) = (group(&["same", "other", "odd"]), group(&["same"]));
        let reference = reference();
        let seed = Seed::root(0);
        let requests = [
            RewardRequest { group: &second, reference: None, seed },
            RewardRequest { group: &first, reference: Some(&reference), seed },
            RewardRequest { group: &second, reference: Some(&reference), seed },
        ];
        let deriver = JudgeEquivalence::new(&Config::default(), &judge);
        let derived = deriver.derive(&requests).unwrap();
        let values: Vec<_> = derived[1].rewards.iter().map(|reward| reward.value).collect();
        let refused = UnrewardedReason::Judge(JudgeFailure::Refused);
        assert_eq!(
            values,
            [
                RewardValue::Rewarded(1.0),
                RewardValue::Rewarded(0.0),
                RewardValue::Unrewarded(refused),
            ]
        );
        assert_eq!(derived[1].measures["failed-verdicts"], 1.0);
        assert_eq!(derived[1].usage.num_prompt_tokens, 3);
        assert_eq!(derived[2].rewards[0].value, RewardValue::Rewarded(1.0));
        let missing = RewardValue::Unrewarded(UnrewardedReason::NoReference);
        assert_eq!(derived[0].rewards[0].value, missing);
    }

    #[test]
    fn the_judge_is_shown_the_pseudo_reference_and_the_statement() {
        let model = ScriptedGenerator::new("judge", |prompt, _| {
            let text = prompt.question_text();
            assert!(text.contains("take 5 mg") && text.contains("says that"));
            "{\"answer\": true}".to_owned()
        });
        let judge = LlmJudge::new(&llm_judge::Config::default(), &model).unwrap();
        let config = Config { prompt_text: Some("The response says that.\n".to_owned()) };
        let (group, reference) = (group(&["x"]), reference());
        let request =
            RewardRequest { group: &group, reference: Some(&reference), seed: Seed::root(0) };
        let derived = JudgeEquivalence::new(&config, &judge).derive(&[request]).unwrap().remove(0);
        assert_eq!(derived.rewards[0].value.value(), Some(1.0));
    }

    proptest! {
        #[test]
        fn rewards_follow_their_rollouts(
            texts in prop::collection::vec("same|other|odd", 0..6),
            shuffle: u64,
        ) {
            let judge = ScriptedJudge::new(|_, response| match response {
                "odd" => Verdict::Failed(JudgeFailure::CutOff),
                _ => Verdict::of(response == "same"),
            });
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let deriver = JudgeEquivalence::new(&Config::default(), &judge);
            permuting::check(&deriver, &group(&texts), Some(&reference()), shuffle);
        }
    }
}
