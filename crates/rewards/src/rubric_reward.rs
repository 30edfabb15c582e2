//! Self-proposed rubrics: what the three rubric rewards share.
//!
//! 1. The anchor writes criteria, one question for each group, all in one call. A malformed reply is
//!    asked for again (`judges::ask`); after the last attempt the group has no rubric and no rewards.
//! 2. A judge checks every criterion on every rollout, all groups in one call. It never sees the
//!    pseudo-reference.
//! 3. A rollout's reward is the mean of its values. If one of them is missing, so is the reward: it
//!    would be a mean over other criteria than those of its neighbours.

use std::collections::BTreeMap;

use preceptor_core::{
    Generator, GroupReward, Judge, JudgeFailure, Judged, Needs, PortError, Prompt, PromptBody,
    PromptId, RewardDeriver, RewardRequest, Rubric, Sampling, UnrewardedReason, Usage,
    VerdictRequest,
};
use preceptor_judges::{Answer, Asker, Question, ask};
use preceptor_text::{Template, TemplateError, fence, without_thoughts};

use crate::each_rollout::about_each;
use crate::rubric_cells::{Cell, Grading, LIKERT, cells, rating_cell, reward, verdict_cell};
use crate::rubric_config::RubricConfig;
use crate::rubric_measures::rubric_measures;
use crate::rubric_parser::{Limits, read_rubric};

/// Text that the criteria are written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The pseudo-reference alone.
    Reference,
    /// The question alone.
    Question,
}

/// Answer to the request for a rubric.
type RubricAnswer = Judged<Answer<Rubric>>;

/// Differences between the rubric rewards.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub(crate) source: Source,
    pub(crate) grading: Grading,
    /// The file of the built-in prompt, and its text, in which `{{form}}` becomes the line about form.
    pub(crate) prompt: (&'static str, &'static str),
    /// The placeholders of a prompt: `count`, and what the criteria are written from.
    pub(crate) placeholders: &'static [&'static str],
}

impl Form {
    /// Returns the inputs of a reward of this form.
    pub(crate) const fn needs(&self) -> Needs {
        let source = match self.source {
            Source::Reference => Needs::REFERENCE,
            Source::Question => Needs::NOTHING,
        };
        let grading = match self.grading {
            Grading::YesNo => Needs::JUDGE,
            Grading::Likert => Needs::GRADES,
        };
        source.union(Needs::ANCHOR).union(grading)
    }

    /// Returns the prompt of `config`: the built-in one or the user's own.
    pub(crate) fn template(&self, config: &RubricConfig) -> Result<Template, TemplateError> {
        match &config.prompt_text {
            None => {
                let text = self.prompt.1.replace("{{form}}", config.form_line());
                Template::new(self.prompt.0, &text, self.placeholders)
            }
            Some(text) => Template::new("reward.prompt-text", text, self.placeholders),
        }
    }
}

/// Has rubrics written and checked, and rewards what they say.
pub struct RubricReward<'a> {
    form: Form,
    config: RubricConfig,
    template: Template,
    anchor: &'a dyn Generator,
    sampling: Sampling,
    judge: &'a dyn Judge,
}

impl<'a> RubricReward<'a> {
    /// Creates the deriver of `config` that lets `anchor` write, sampling with `sampling`, and `judge` check.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a prompt of the user's own lacks a placeholder.
    pub fn new(
        form: Form,
        config: &RubricConfig,
        anchor: &'a dyn Generator,
        sampling: &Sampling,
        judge: &'a dyn Judge,
    ) -> Result<Self, TemplateError> {
        // Stop strings belong to the policy's own prompts.
        let sampling = Sampling { stop: Vec::new(), ..sampling.clone() };
        let template = form.template(config)?;
        Ok(Self { form, config: config.clone(), template, anchor, sampling, judge })
    }
}

impl RewardDeriver for RubricReward<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let written = self.write(requests)?;
        let mut grids = self.check(requests, &written)?.into_iter();
        let mut derived = Vec::with_capacity(requests.len());
        for (request, written) in requests.iter().zip(&written) {
            let num_rollouts = request.group.rollouts.len();
            let unrewarded = |reason| GroupReward::unrewarded(num_rollouts, reason);
            let mut one = match written.as_ref().map(|written| &written.answer) {
                None => unrewarded(UnrewardedReason::NoReference),
                Some(Err(JudgeFailure::CallFailed)) => unrewarded(UnrewardedReason::CallFailed),
                Some(Err(_)) => unrewarded(UnrewardedReason::NoRubric),
                Some(Ok(rubric)) => {
                    let grid = grids.by_ref().take(num_rollouts).collect();
                    rewarded(rubric, grid, self.form.grading)
                }
            };
            if let Some(written) = written {
                one.usage += written.usage;
                one.measures.extend(writing_measures(written));
            }
            derived.push(one);
        }
        Ok(derived)
    }
}

impl RubricReward<'_> {
    /// Asks for a rubric for each group; none if there is no text to write it from or no rollout to check.
    fn write(
        &self,
        requests: &[RewardRequest<'_>],
    ) -> Result<Vec<Option<RubricAnswer>>, PortError> {
        let RubricConfig { num_criteria, min_criteria, max_criteria, attempts, .. } = self.config;
        let limits = Limits { min: min_criteria as usize, max: max_criteria as usize };
        let question = |request: &RewardRequest<'_>| {
            if request.group.rollouts.is_empty() {
                return None;
            }
            let prompt = &request.group.prompt;
            let shown = match self.form.source {
                Source::Reference => fence("response", &without_thoughts(&request.reference?.text)),
                Source::Question => fence("question", &prompt.question_text()),
            };
            let text = self.template.fill(&[&num_criteria.to_string(), &shown]);
            let body = PromptBody::instruction(text, self.anchor.identity());
            let id = PromptId::new(format!("{}/rubric", prompt.id));
            Some(Question {
                prompt: Prompt::new(id, body),
                read: Box::new(move |reply: &str| read_rubric(reply, limits)),
            })
        };
        let questions: Vec<Option<_>> = requests.iter().map(question).collect();
        let is_asked: Vec<bool> = questions.iter().map(Option::is_some).collect();
        let asker =
            Asker { model: self.anchor, role: "rubric", sampling: self.sampling.clone(), attempts };
        let mut answers = ask(&asker, questions.into_iter().flatten().collect())?.into_iter();
        Ok(is_asked.into_iter().map(|asked| asked.then(|| answers.next()).flatten()).collect())
    }

    /// Returns a row of cells for each rollout of each group with a rubric, in order.
    fn check(
        &self,
        requests: &[RewardRequest<'_>],
        written: &[Option<RubricAnswer>],
    ) -> Result<Vec<Vec<Cell>>, PortError> {
        let with_rubric = requests.iter().zip(written).filter_map(|(request, written)| {
            Some((request.group, written.as_ref()?.answer.as_ref().ok()?))
        });
        let asked: Vec<VerdictRequest<'_>> = with_rubric
            .flat_map(|(group, rubric)| about_each(group, None, &rubric.criteria))
            .collect();
        let criteria = asked.iter().map(|request| request.criteria);
        match self.form.grading {
            Grading::YesNo => {
                let verdicts = self.judge.verdicts(&asked)?.into_iter();
                Ok(verdicts.zip(criteria).map(|(row, of)| cells(row, of, verdict_cell)).collect())
            }
            Grading::Likert => {
                let ratings = self.judge.ratings(&asked, LIKERT)?.into_iter();
                Ok(ratings.zip(criteria).map(|(row, of)| cells(row, of, rating_cell)).collect())
            }
        }
    }
}

/// Returns `rubric-attempts` (replies asked for) and `malformed-rubrics` (replies without a rubric).
fn writing_measures(written: &RubricAnswer) -> BTreeMap<String, f64> {
    let num_attempts = written.evidence.num_attempts;
    let num_malformed = match written.answer {
        Err(JudgeFailure::Unreadable | JudgeFailure::Contradictory | JudgeFailure::CutOff) => {
            num_attempts
        }
        // The last reply was a rubric, a refusal, or none.
        Ok(_)
        | Err(JudgeFailure::CallFailed | JudgeFailure::Refused | JudgeFailure::PromptTooLong) => {
            num_attempts.saturating_sub(1)
        }
    };
    BTreeMap::from([
        ("rubric-attempts".to_owned(), f64::from(num_attempts)),
        ("malformed-rubrics".to_owned(), f64::from(num_malformed)),
    ])
}

fn rewarded(rubric: &Rubric, grid: Vec<Vec<Cell>>, grading: Grading) -> GroupReward {
    let value = |cell: &Cell| cell.value.ok();
    let values: Vec<Vec<Option<f64>>> =
        grid.iter().map(|row| row.iter().map(value).collect()).collect();
    let mut usage = Usage::default();
    for cell in grid.iter().flatten() {
        usage += cell.usage;
    }
    GroupReward {
        rewards: grid.into_iter().map(|row| reward(row, grading)).collect(),
        rubric: Some(rubric.clone()),
        measures: rubric_measures(rubric, &values),
        usage,
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{
        Criterion, FinishReason, Group, JudgedCriterion, Origin, PseudoReference, RewardValue,
        Rollout, Seed, Verdict,
    };
    use preceptor_testkit::{ScriptedJudge, ScriptedRollouts, group, rollout};
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> PseudoReference {
        PseudoReference { text: text.to_owned(), origin: Origin::Written }
    }

    fn list(criteria: &[&str]) -> String {
        let items = criteria.iter().map(|text| format!("<criterion>{text}</criterion>\n"));
        format!("<rubric>\n{}</rubric>", items.collect::<String>())
    }

    /// Returns met if the response contains the criterion's text; responses with `!` are refused.
    fn contains(criterion: &Criterion, response: &str) -> Verdict {
        if response.contains('!') {
            Verdict::Failed(JudgeFailure::Refused)
        } else {
            Verdict::of(response.contains(&criterion.text))
        }
    }

    fn deriver<'a>(
        grading: Grading,
        anchor: &'a dyn Generator,
        judge: &'a dyn Judge,
    ) -> RubricReward<'a> {
        let config = RubricConfig {
            num_criteria: 3,
            min_criteria: 2,
            max_criteria: 4,
            ..RubricConfig::default()
        };
        let form = Form {
            source: Source::Reference,
            grading,
            prompt: ("t", "{{count}} {{reference}}"),
            placeholders: &["count", "reference"],
        };
        RubricReward::new(form, &config, anchor, &Sampling::default(), judge).unwrap()
    }

    fn request<'a>(group: &'a Group, reference: &'a PseudoReference) -> RewardRequest<'a> {
        RewardRequest { group, reference: Some(reference), seed: Seed::root(0) }
    }

    fn values(derived: &GroupReward) -> Vec<RewardValue> {
        derived.rewards.iter().map(|reward| reward.value).collect()
    }

    #[test]
    fn the_reward_is_the_fraction_met_over_the_groups_own_rubric() {
        let anchor = ScriptedRollouts::new(|prompt, _| {
            let text = prompt.question_text();
            let criteria: &[_] =
                if text.contains("first") { &["a", "b"] } else { &["c", "d", "e", "f"] };
            Some(rollout(0, &list(criteria)))
        });
        let judge = ScriptedJudge::new(contains);
        let groups = [group(&["a b", "b", "!"]), group(&["c d e f", "", "c"])];
        let references = [reference("first"), reference("second")];
        let requests = [request(&groups[0], &references[0]), request(&groups[1], &references[1])];
        let derived = deriver(Grading::YesNo, &anchor, &judge).derive(&requests).unwrap();
        assert_eq!(anchor.calls().len(), 1, "all rubrics are asked for at once");
        let refused = UnrewardedReason::Judge(JudgeFailure::Refused);
        assert_eq!(
            values(&derived[0]),
            [
                RewardValue::Rewarded(1.0),
                RewardValue::Rewarded(0.5),
                RewardValue::Unrewarded(refused),
            ]
        );
        let expected = [1.0, 0.0, 0.25].map(RewardValue::Rewarded);
        assert_eq!(values(&derived[1]), expected);
        assert_eq!(derived[0].rewards[1].reason, "1 of 2 criteria met");
        assert_eq!(derived[0].rewards[2].reason, "2 of 2 verdicts missing: refused");
        assert_eq!(derived[1].rewards[0].judged.len(), 4);
        let rubric = derived[1].rubric.as_ref().unwrap();
        assert_eq!(rubric.criteria.len(), 4);
        assert_eq!(derived[0].measures["failed-verdicts"], 2.0);
        // Six verdicts a token each, and the rubric's question.
        assert_eq!(derived[0].usage.num_prompt_tokens, 7);
    }

    #[test]
    fn malformed_rubrics_are_asked_for_again_and_counted() {
        let anchor = ScriptedRollouts::new(|prompt, seed| {
            let is_attempt = |attempt| {
                let body = serde_json::to_vec(&prompt.body).unwrap();
                let asked = preceptor_core::Digest::of_parts([b"rubric".as_slice(), &body]);
                let root = Seed::root(0).derive("ask").derive(asked.as_str());
                root.derive_index(attempt) == seed.seed
            };
            Some(rollout(0, &if is_attempt(2) { list(&["a", "b"]) } else { list(&["a"]) }))
        });
        let judge = ScriptedJudge::new(contains);
        let (group, reference) = (group(&["a"]), reference("s"));
        let derived = deriver(Grading::YesNo, &anchor, &judge)
            .derive(&[request(&group, &reference)])
            .unwrap()
            .remove(0);
        assert_eq!(values(&derived), [RewardValue::Rewarded(0.5)]);
        let measures = (derived.measures["rubric-attempts"], derived.measures["malformed-rubrics"]);
        assert_eq!(measures, (3.0, 2.0));
    }

    #[test]
    fn a_group_without_a_rubric_has_no_rewards_and_keeps_the_reason() {
        for (finish, text, reason, malformed) in [
            (Some(FinishReason::EndToken), "no list", UnrewardedReason::NoRubric, 3.0),
            (Some(FinishReason::Refused), "", UnrewardedReason::NoRubric, 0.0),
            (None, "", UnrewardedReason::CallFailed, 0.0),
        ] {
            let anchor =
                ScriptedRollouts::new(|_, _| Some(Rollout { finish: finish?, ..rollout(0, text) }));
            let judge = ScriptedJudge::new(|_, _| panic!("there is nothing to check"));
            let (group, reference) = (group(&["a", "b"]), reference("s"));
            let derived = deriver(Grading::YesNo, &anchor, &judge)
                .derive(&[request(&group, &reference)])
                .unwrap()
                .remove(0);
            assert_eq!(values(&derived), [RewardValue::Unrewarded(reason); 2]);
            assert_eq!(derived.measures["malformed-rubrics"], malformed);
        }
    }

    #[test]
    fn without_a_pseudo_reference_nothing_is_asked() {
        let anchor = ScriptedRollouts::new(|_, _| panic!("there is nothing to write from"));
        let judge = ScriptedJudge::new(contains);
        let (empty, one, reference) = (group(&[]), group(&["a"]), reference("s"));
        let no_reference = RewardRequest { group: &one, reference: None, seed: Seed::root(0) };
        let derived = deriver(Grading::YesNo, &anchor, &judge)
            .derive(&[no_reference, request(&empty, &reference)])
            .unwrap();
        assert_eq!(values(&derived[0]), [RewardValue::Unrewarded(UnrewardedReason::NoReference)]);
        assert!(derived[1].rewards.is_empty());
    }

    #[test]
    fn a_likert_reward_is_the_mean_of_scaled_grades() {
        let anchor = ScriptedRollouts::new(|_, _| Some(rollout(0, &list(&["a", "b", "c", "d"]))));
        let judge = ScriptedJudge::new(contains);
        let (group, reference) = (group(&["a b c"]), reference("s"));
        let derived = deriver(Grading::Likert, &anchor, &judge)
            .derive(&[request(&group, &reference)])
            .unwrap()
            .remove(0);
        assert_eq!(values(&derived), [RewardValue::Rewarded(0.75)]);
        assert_eq!(derived.rewards[0].reason, "mean grade 4.00 on 4 criteria");
        assert!(matches!(derived.rewards[0].judged[0], JudgedCriterion::Rating { .. }));
    }

    proptest! {
        #[test]
        fn a_failed_verdict_never_enters_a_mean(
            texts in prop::collection::vec("[abc!]{0,4}", 0..6),
            shuffle: u64,
        ) {
            let anchor = ScriptedRollouts::new(|_, _| Some(rollout(0, &list(&["a", "b", "c"]))));
            let judge = ScriptedJudge::new(contains);
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let (group, reference) = (group(&texts), reference("s"));
            for grading in [Grading::YesNo, Grading::Likert] {
                let deriver = deriver(grading, &anchor, &judge);
                crate::permuting::check(&deriver, &group, Some(&reference), shuffle);
                let derived = deriver.derive(&[request(&group, &reference)]).unwrap().remove(0);
                for (text, reward) in texts.iter().zip(&derived.rewards) {
                    let met = ["a", "b", "c"].iter().filter(|c| text.contains(**c)).count();
                    let expected = (!text.contains('!')).then_some(met as f64 / 3.0);
                    prop_assert_eq!(reward.value.value(), expected);
                }
            }
        }

        #[test]
        fn any_reply_of_the_anchor_gives_one_reward_a_rollout(
            reply in r"(?s)(.|<criterion>|</criterion>|a|b){0,40}",
        ) {
            let anchor = ScriptedRollouts::new(|_, _| Some(rollout(0, &reply)));
            let judge = ScriptedJudge::new(contains);
            let (group, reference) = (group(&["a", "b"]), reference("s"));
            let deriver = deriver(Grading::YesNo, &anchor, &judge);
            let derived = deriver.derive(&[request(&group, &reference)]).unwrap().remove(0);
            prop_assert_eq!(derived.rewards.len(), 2);
            for reward in derived.rewards {
                prop_assert!(reward.value.value().is_none_or(|value| (0.0..=1.0).contains(&value)));
            }
        }
    }
}
