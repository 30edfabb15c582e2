//! Groups of the steps of training runs.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, TrainGroupRecord, TrainingRecord, step_group_key};

use crate::condition::Condition;
use crate::evidence::Evidence;
use crate::explorer::flags::{answer_flags, failure_flags};
use crate::explorer::named::{SetHead, SetKind, estimate, policy_label, reward};
use crate::explorer::texts::Texts;
use crate::explorer::view::{EstimateView, GroupView, RewardView, RolloutView, TokensView, reason};

/// A training run of one seed.
pub(crate) struct TrainedSet<'a> {
    pub(crate) cell: &'a CellRecord,
    pub(crate) training: &'a TrainingRecord,
    pub(crate) head: SetHead,
}

/// Returns the training runs of a plan.
pub(crate) fn trained_sets(evidence: &Evidence) -> Vec<TrainedSet<'_>> {
    let mut sets: Vec<TrainedSet<'_>> = Vec::new();
    for cell in &evidence.plan.cells {
        let Some(training) = &cell.training else { continue };
        if sets.iter().any(|set| set.training.groups == training.groups) {
            continue;
        }
        let reads = |other: &&CellRecord| {
            other.training.as_ref().is_some_and(|of| of.groups == training.groups)
        };
        let readers: Vec<_> = evidence.plan.cells.iter().filter(reads).collect();
        let of = Condition::of(&readers);
        let size = cell.group_size;
        let mut estimates = Vec::new();
        if training.uses_references {
            let mut part = estimate(evidence, &of, cell, size);
            (part.stage, part.grades) = (training.groups.clone(), None);
            estimates.push(part);
        }
        let mut part = reward(evidence, &of, cell, &training.groups, size);
        if part.name.is_empty() {
            part.name.clone_from(&training.objective);
        }
        let head = SetHead {
            key: training.groups.short().to_owned(),
            kind: SetKind::Training,
            label: policy_label(evidence, &readers),
            seed: cell.seed,
            model: cell.model.clone(),
            group_size: size,
            grader: cell.grader.clone(),
            stages: BTreeMap::from([
                ("prompts", cell.stages.prompts.clone()),
                ("train-groups", training.groups.clone()),
                ("train-steps", training.steps.clone()),
            ]),
            step: None,
            has_rubric: evidence.has_rubric(cell),
            estimates,
            rewards: vec![part],
        };
        sets.push(TrainedSet { cell, training, head });
    }
    sets
}

impl TrainedSet<'_> {
    /// Shows the group of a step.
    pub(crate) fn group(&self, record: &TrainGroupRecord, texts: &mut Texts) -> GroupView {
        let key = step_group_key(record.step, &record.prompt);
        let rollouts = record.rollouts.iter().enumerate().map(|(i, rollout)| {
            let mut view = RolloutView::new(None, Some(rollout), texts);
            view.advantage = record.advantages.get(i).copied().flatten();
            if let Some(score) = record.scores.get(i) {
                view.score = score.value();
                view.reason = reason("", score);
            }
            view
        });
        let rollouts: Vec<_> = rollouts.collect();
        let estimates = self.head.estimates.iter().map(|_| {
            let aggregate = record.aggregate.as_ref()?;
            let mut view = EstimateView::new(Some(aggregate), texts);
            if let Some(score) = &record.reference_score {
                view.score = score.value();
                view.reason = reason("", score);
            }
            Some(view)
        });
        let estimates: Vec<_> = estimates.collect();
        let rewards = vec![Some(RewardView::new(Some(&record.reward), None, texts))];
        let tokens = record.rollouts.iter().enumerate();
        let tokens =
            tokens.map(|(i, rollout)| TokensView::new(rollout, record.token_traces.get(i)));
        let tokens = tokens.collect();
        let mut group = GroupView { key, rollouts, estimates, rewards, flags: Vec::new(), tokens };
        if !record.scores.is_empty() {
            group.flags = answer_flags(&group, &[]);
            // Answers are not extracted while a policy is trained.
            group.flags.retain(|flag| flag != "rollout without an answer");
        }
        group.flags.extend(failure_flags(&group));
        group
    }
}
