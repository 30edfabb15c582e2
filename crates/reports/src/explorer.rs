//! The explorer: rollouts, estimates, rewards and scores, prompt by prompt.
//!
//! An explorer shows the prompts of one benchmark, for the plan's first seed and the largest group.
//! Texts travel as JSON inside the page and become text nodes only, so model output is never
//! markup.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, Score, rollout_key};
use preceptor_core::{AggregateOutcome, Origin, PromptId, RewardValue};
use serde::Serialize;

use crate::answers::{PromptAnswer, answer_of};
use crate::condition::{ANY, Condition, MAJORITY};
use crate::evidence::Evidence;
use crate::judged_view::{JudgedView, judged_views};
use crate::label::rewarded_label;

/// Contents of the explorer of one benchmark.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Explorer {
    /// The benchmark.
    pub(crate) benchmark: String,
    /// True if the page that holds it may be published.
    pub(crate) shareable: bool,
    seed: u64,
    group_size: u32,
    grader: String,
    /// True if scores are shares of points rather than right or wrong.
    has_rubric: bool,
    prompts: Vec<PromptView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PromptView {
    id: String,
    question: String,
    /// The whole prompt that the policy read.
    asked: String,
    label: String,
    tags: BTreeMap<String, String>,
    rollouts: Vec<RolloutView>,
    references: Vec<ReferenceView>,
    rewards: Vec<RewardView>,
    /// Names of the filters that this prompt passes.
    flags: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutView {
    text: String,
    answer: Option<String>,
    extraction: String,
    score: Option<f64>,
    reason: String,
    class: Option<u32>,
    finish: &'static str,
    num_tokens: u64,
    logprob: f64,
    judged: Vec<JudgedView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReferenceView {
    name: String,
    sees_labels: bool,
    /// The rollout that it is, or `written`, or the reason why there is none.
    origin: String,
    /// The whole text, if a model wrote it.
    text: Option<String>,
    answer: Option<String>,
    score: Option<f64>,
    reason: String,
    measures: BTreeMap<String, f64>,
    /// The replies of the model that wrote it.
    replies: Vec<String>,
    judged: Vec<JudgedView>,
    #[serde(skip)]
    kind: String,
    #[serde(skip)]
    given: Option<PromptAnswer>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RewardView {
    name: String,
    sees_labels: bool,
    rubric: Vec<String>,
    measures: BTreeMap<String, f64>,
    /// The reason why there are no rewards.
    failure: Option<String>,
    rollouts: Vec<RolloutRewardView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutRewardView {
    value: Option<f64>,
    reason: String,
    judged: Vec<JudgedView>,
}

/// Returns an explorer for each benchmark.
pub(crate) fn explorers(evidence: &Evidence) -> Vec<Explorer> {
    let estimated = evidence.distinct(|stages| Some(vec![&stages.aggregates, &stages.grades]));
    let rewarded = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    let mut explorers: Vec<Explorer> = Vec::new();
    for cell in evidence.rollout_cells() {
        if explorers.iter().any(|explorer| explorer.benchmark == cell.benchmark) {
            continue;
        }
        let view = View {
            evidence,
            cell,
            references: sharers(&estimated, cell),
            rewards: sharers(&rewarded, cell),
        };
        explorers.push(Explorer {
            benchmark: cell.benchmark.clone(),
            shareable: cell.shareable,
            seed: cell.seed,
            group_size: cell.group_size,
            grader: cell.grader.clone(),
            has_rubric: evidence.has_rubric(cell),
            prompts: cell.prompts.iter().map(|prompt| view.prompt(prompt)).collect(),
        });
    }
    explorers
}

/// Returns the conditions with a cell on the same groups as `cell`.
fn sharers<'c, 'a>(
    conditions: &'c [Condition<'a>],
    cell: &CellRecord,
) -> Vec<(&'c Condition<'a>, &'a CellRecord)> {
    let shares = |other: &&&CellRecord| {
        other.stages.rollouts == cell.stages.rollouts
            && other.stages.rollout_grades == cell.stages.rollout_grades
            && other.group_size == cell.group_size
            && other.prompts == cell.prompts
    };
    let found = conditions.iter().filter_map(|condition| {
        let cell = condition.cells.iter().find(shares)?;
        Some((condition, *cell))
    });
    found.collect()
}

/// The cells behind an explorer.
struct View<'c, 'a> {
    evidence: &'a Evidence,
    cell: &'a CellRecord,
    references: Vec<(&'c Condition<'a>, &'a CellRecord)>,
    rewards: Vec<(&'c Condition<'a>, &'a CellRecord)>,
}

impl View<'_, '_> {
    fn prompt(&self, id: &PromptId) -> PromptView {
        let record = self.evidence.prompt(self.cell, id.as_str());
        let rollouts: Vec<_> = (0..self.cell.group_size).map(|i| self.rollout(id, i)).collect();
        let references: Vec<_> =
            self.references.iter().map(|(of, cell)| self.reference(of, cell, id)).collect();
        let rewards: Vec<_> =
            self.rewards.iter().map(|(of, cell)| self.reward(of, cell, id)).collect();
        let grades = self.references.iter().filter_map(|(_, cell)| {
            self.evidence.grade(cell, id.as_str()).map(|grade| grade.label.clone())
        });
        let mut flags = Vec::new();
        if !self.evidence.has_rubric(self.cell) {
            answer_flags(&rollouts, &references, &mut flags);
        }
        failure_flags(&rollouts, &references, &rewards, &mut flags);
        PromptView {
            id: id.to_string(),
            question: record.question.clone(),
            asked: record.prompt.display_text(),
            label: grades.into_iter().next().unwrap_or_default(),
            tags: record.tags.clone(),
            rollouts,
            references,
            rewards,
            flags,
        }
    }

    fn rollout(&self, id: &PromptId, index: u32) -> RolloutView {
        let Self { evidence, cell, .. } = self;
        let key = rollout_key(id, index);
        let stages = &cell.stages;
        let record = evidence.rollout(cell, &key).map(|record| &record.rollout);
        let grade = evidence.rollout_grade(cell, &key);
        let noted = [&stages.rollouts, &stages.rollout_grades];
        let noted = noted.iter().find_map(|stage| evidence.failure(stage, &key));
        let reason = grade.map(|grade| reason(&grade.reason, &grade.score));
        let classes = evidence.classes(cell, id.as_str());
        let logprobs = record.map(|rollout| rollout.logprobs.as_slice()).unwrap_or_default();
        RolloutView {
            text: record.map(|rollout| rollout.text.clone()).unwrap_or_default(),
            answer: grade.and_then(|grade| grade.answer.clone()),
            extraction: grade.map(|grade| grade.extraction.clone()).unwrap_or_default(),
            score: grade.and_then(|grade| grade.score.value()),
            reason: reason.or(noted.map(str::to_owned)).unwrap_or_default(),
            class: classes.and_then(|record| record.classes.get(index as usize).copied().flatten()),
            finish: record.map_or("failed", |rollout| rollout.finish.name()),
            num_tokens: record.map_or(0, |rollout| rollout.num_tokens()),
            logprob: logprobs.iter().map(|&logprob| f64::from(logprob)).sum(),
            judged: grade.map(|grade| judged_views(&grade.judged)).unwrap_or_default(),
        }
    }

    fn reference(&self, of: &Condition<'_>, cell: &CellRecord, id: &PromptId) -> ReferenceView {
        let evidence = self.evidence;
        let aggregate = evidence.aggregate(cell, id.as_str()).map(|record| &record.aggregate);
        let grade = evidence.grade(cell, id.as_str());
        let (origin, text) = match aggregate.map(|aggregate| &aggregate.outcome) {
            Some(AggregateOutcome::Estimated(reference)) => match reference.origin {
                Origin::Rollout(index) => (format!("rollout {index}"), None),
                Origin::Written => ("written".to_owned(), Some(reference.text.clone())),
            },
            Some(AggregateOutcome::Abstained(reason)) => (format!("none: {}", reason.name()), None),
            None => ("failed".to_owned(), None),
        };
        let reason = match grade {
            Some(grade) => reason(&grade.reason, &grade.score),
            None => reason("", &evidence.score(cell, id)),
        };
        let replies = aggregate.map(|aggregate| aggregate.replies.as_slice()).unwrap_or_default();
        ReferenceView {
            name: of.estimate_name(evidence),
            sees_labels: of.is_upper_bound(),
            origin,
            text,
            answer: grade.and_then(|grade| grade.answer.clone()),
            score: grade.and_then(|grade| grade.score.value()),
            reason,
            measures: aggregate.map(|aggregate| aggregate.measures.clone()).unwrap_or_default(),
            replies: replies.iter().map(|reply| reply.text.clone()).collect(),
            judged: grade.map(|grade| judged_views(&grade.judged)).unwrap_or_default(),
            kind: cell.aggregator.clone(),
            given: answer_of(evidence, cell, id),
        }
    }

    fn reward(&self, of: &Condition<'_>, cell: &CellRecord, id: &PromptId) -> RewardView {
        let evidence = self.evidence;
        let group = evidence.reward(cell, id.as_str()).map(|record| &record.group);
        let rollout = |reward: &preceptor_core::Reward| RolloutRewardView {
            value: reward.value.value(),
            reason: match reward.value {
                RewardValue::Rewarded(_) => reward.reason.clone(),
                RewardValue::Unrewarded(reason) => format!("none: {}", reason.name()),
            },
            judged: judged_views(&reward.judged),
        };
        let rubric = group.and_then(|group| group.rubric.as_ref());
        let noted = cell.stages.rewards.as_ref();
        let noted = noted.and_then(|stage| evidence.failure(stage, id.as_str()));
        let failure =
            group.is_none().then(|| noted.unwrap_or("the group is incomplete").to_owned());
        let estimate = of.estimate_name(evidence);
        let estimate = if estimate == ANY { "" } else { &estimate };
        let name = rewarded_label(estimate, &of.reward());
        RewardView {
            name,
            sees_labels: cell.reward_sees_labels,
            rubric: rubric
                .map(|rubric| rubric.criteria.iter().map(|one| one.text.clone()).collect())
                .unwrap_or_default(),
            measures: group.map(|group| group.measures.clone()).unwrap_or_default(),
            failure,
            rollouts: group.map(|g| g.rewards.iter().map(rollout).collect()).unwrap_or_default(),
        }
    }
}

fn reason(reason: &str, score: &Score) -> String {
    match score {
        Score::Scored(_) => reason.to_owned(),
        Score::Unscored(why) => format!("unscored: {why}"),
    }
}

fn answer_flags(rollouts: &[RolloutView], references: &[ReferenceView], flags: &mut Vec<String>) {
    let right = rollouts.iter().filter(|rollout| rollout.score == Some(1.0)).count();
    let all_wrong = rollouts.iter().all(|rollout| rollout.score.is_some_and(|score| score < 1.0));
    let majority = references.iter().find(|reference| reference.kind == MAJORITY);
    let mut add = |flag: &str| flags.push(flag.to_owned());
    if right == rollouts.len() {
        add("all right");
    }
    if all_wrong {
        add("all wrong");
    }
    if right > 0 && right < rollouts.len() {
        add("mixed group");
    }
    if all_wrong && references.iter().any(|reference| reference.score == Some(1.0)) {
        add("right where all rollouts are wrong");
    }
    if majority.is_some_and(|m| m.score != Some(1.0)) && right > 0 {
        add("majority wrong, a rollout right");
    }
    if majority.is_some_and(|m| m.measures.get("tied") == Some(&1.0)) {
        add("majority tied");
    }
    if rollouts.iter().any(|rollout| rollout.answer.is_none()) {
        add("rollout without an answer");
    }
    for reference in references.iter().filter(|reference| reference.text.is_some()) {
        let both = majority.and_then(|m| Some((m.given.as_ref()?, reference.given.as_ref()?)));
        if both.is_some_and(|(majority, given)| !given.same_as(majority)) {
            add(&format!("{} differs from majority", reference.name));
        }
    }
}

fn failure_flags(
    rollouts: &[RolloutView],
    references: &[ReferenceView],
    rewards: &[RewardView],
    flags: &mut Vec<String>,
) {
    let of_rewards = rewards.iter().flat_map(|reward| &reward.rollouts);
    let judged = rollouts.iter().flat_map(|rollout| &rollout.judged);
    let judged = judged.chain(references.iter().flat_map(|reference| &reference.judged));
    let mut judged = judged.chain(of_rewards.clone().flat_map(|rollout| &rollout.judged));
    if judged.any(JudgedView::is_failed) {
        flags.push("judge failed".to_owned());
    }
    let is_missing = rewards.iter().any(|reward| reward.failure.is_some());
    if is_missing || of_rewards.clone().any(|rollout| rollout.value.is_none()) {
        flags.push("rollout without a reward".to_owned());
    }
    let failed = references.iter().any(|reference| reference.origin == "failed");
    if failed || rollouts.iter().any(|rollout| rollout.finish == "failed") {
        flags.push("failed call".to_owned());
    }
}
