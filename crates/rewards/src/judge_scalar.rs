//! `judge-scalar`: a judge's grade, without a reference.
//!
//! ```text
//! r(o) = (g - 1) / 9,      g in 1 .. 10 the judge's grade of o
//! ```
//!
//! The judge gives one grade per rollout and sees neither the pseudo-reference nor the other rollouts. If the
//! grade is missing there is no reward. It needs a judge that grades.
//!
//! Measures: `failed-verdicts` (how many grades are missing).
//!
//! Differs from the paper: what the judge is asked is ours, and grades are scaled to [0, 1] so that
//! rewards share a range; group normalisation takes the scale out again.

use preceptor_core::{
    Calls, Criterion, Digest, GroupReward, GroupShape, Judge, Judged, JudgedCriterion, Needs,
    PortError, PromptError, Rating, Reward, RewardDeriver, RewardRequest, Scale, Settings,
    VerdictRequest,
};
use serde::{Deserialize, Serialize};

use crate::each_rollout::{about_each, of_answers};
use crate::outcome::judged;
use crate::rubric_cells::scaled;

const CRITERION: &str = include_str!("../prompts/quality-v1.md");
const SCALE: Scale = Scale { low: 1, high: 10 };

/// Settings of [`JudgeScalar`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// A statement of your own; the judge grades how far a response satisfies it. Default: a built-in
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_text: Option<String>,
}

impl Settings for Config {
    const NAME: &'static str = "judge-scalar";
    const SUMMARY: &'static str = "the judge's grade from 1 to 10, without a reference";
    const NEEDS: Needs = Needs::GRADES;

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

/// Grade by a judge.
pub struct JudgeScalar<'a> {
    criterion: Criterion,
    judge: &'a dyn Judge,
}

impl<'a> JudgeScalar<'a> {
    /// Creates the deriver of `config` that asks `judge`.
    pub fn new(config: &Config, judge: &'a dyn Judge) -> Self {
        Self { criterion: Criterion::new(statement(config)), judge }
    }

    fn reward(&self, judged_one: Judged<Rating>) -> Reward {
        let value = match judged_one.answer {
            Rating::Rated(grade) => scaled(grade, SCALE),
            Rating::Failed(failure) => Err(failure),
        };
        let reason = match (value, judged_one.answer) {
            (Ok(_), Rating::Rated(grade)) => format!("grade {grade} of {}", SCALE.high),
            (Ok(_), Rating::Failed(failure)) | (Err(failure), _) => {
                format!("no grade: {}", failure.name())
            }
        };
        let criterion = self.criterion.clone();
        judged(value, reason, vec![JudgedCriterion::Rating { criterion, judged: judged_one }])
    }
}

impl RewardDeriver for JudgeScalar<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let criteria = std::slice::from_ref(&self.criterion);
        let asked: Vec<VerdictRequest<'_>> =
            requests.iter().flat_map(|request| about_each(request.group, None, criteria)).collect();
        let mut ratings = self.judge.ratings(&asked, SCALE)?.into_iter().flatten();
        let of_group = |request: &RewardRequest<'_>| {
            let ratings = ratings.by_ref().take(request.group.rollouts.len());
            of_answers(ratings, |rating| self.reward(rating))
        };
        Ok(requests.iter().map(of_group).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{JudgeFailure, RewardValue, Seed, UnrewardedReason, Verdict};
    use preceptor_judges::{LlmJudge, Style, llm_judge};
    use preceptor_testkit::{ScriptedGenerator, ScriptedJudge, group};
    use proptest::prelude::*;

    use super::*;
    use crate::permuting;

    #[test]
    fn grades_are_scaled_and_failures_are_no_grade() {
        let model = ScriptedGenerator::new("judge", |prompt, _| {
            let text = prompt.question_text();
            let grades = [("red", "1"), ("amber", "Rating: 7/10"), ("green", "10"), ("odd", "11")];
            let grade = grades.iter().find(|(word, _)| text.contains(&format!("\n{word}\n")));
            grade.expect("the response is shown").1.to_owned()
        });
        let config = llm_judge::Config {
            style: Style::YesNo,
            show_prompt: false,
            ..llm_judge::Config::default()
        };
        let judge = LlmJudge::new(&config, &model).unwrap();
        let config = Config { prompt_text: Some("is useful".to_owned()) };
        let deriver = JudgeScalar::new(&config, &judge);
        let group = group(&["red", "amber", "green", "odd"]);
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let derived = deriver.derive(&[request]).unwrap().remove(0);
        let values: Vec<_> = derived.rewards.iter().map(|reward| reward.value).collect();
        let unreadable = UnrewardedReason::Judge(JudgeFailure::Unreadable);
        let expected = [
            RewardValue::Rewarded(0.0),
            RewardValue::Rewarded(6.0 / 9.0),
            RewardValue::Rewarded(1.0),
            RewardValue::Unrewarded(unreadable),
        ];
        assert_eq!(values, expected);
        assert_eq!(derived.rewards[1].reason, "grade 7 of 10");
        assert_eq!(derived.measures["failed-verdicts"], 1.0);
    }

    proptest! {
        #[test]
        fn rewards_are_in_range_and_follow_their_rollouts(
            texts in prop::collection::vec("good|bad|odd", 0..6),
            shuffle: u64,
        ) {
            let judge = ScriptedJudge::new(|_, response| match response {
                "odd" => Verdict::Failed(JudgeFailure::CutOff),
                _ => Verdict::of(response == "good"),
            });
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let group = group(&texts);
            let deriver = JudgeScalar::new(&Config::default(), &judge);
            permuting::check(&deriver, &group, None, shuffle);
            let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
            let derived = deriver.derive(&[request]).unwrap().remove(0);
            for (text, reward) in texts.iter().zip(&derived.rewards) {
                let expected = match *text {
                    "good" => RewardValue::Rewarded(1.0),
                    "bad" => RewardValue::Rewarded(0.0),
                    _ => RewardValue::Unrewarded(UnrewardedReason::Judge(JudgeFailure::CutOff)),
                };
                prop_assert_eq!(reward.value, expected);
            }
        }
    }
}
