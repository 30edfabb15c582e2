//! Groups of evaluated policies, with all conditions that read them.

use std::collections::BTreeMap;

use preceptor_core::PromptId;
use preceptor_core::record::{CellRecord, rollout_key};

use crate::answers::answer_of;
use crate::condition::{Condition, MAJORITY};
use crate::evidence::{Evidence, RolloutSet};
use crate::explorer::flags::{EstimateFacts, answer_flags, failure_flags};
use crate::explorer::named::{Part, SetHead, SetKind, distinguish, estimate, policy_label, reward};
use crate::explorer::texts::Texts;
use crate::explorer::view::{EstimateView, GroupView, RewardView, RolloutView, TokensView, reason};

/// A condition with its cell that reads the set.
type Reader<'c, 'a> = (&'c Condition<'a>, &'a CellRecord);

/// Rollouts of one policy, with everything that was made from them.
pub(crate) struct EvaluatedSet<'c, 'a> {
    evidence: &'a Evidence,
    pub(crate) cell: &'a CellRecord,
    references: Vec<Reader<'c, 'a>>,
    rewards: Vec<Reader<'c, 'a>>,
    pub(crate) head: SetHead,
}

/// Returns the conditions with a cell that reads the rollouts and grades of `cell`.
fn readers<'c, 'a>(conditions: &'c [Condition<'a>], cell: &CellRecord) -> Vec<Reader<'c, 'a>> {
    let reads = |other: &&&CellRecord| {
        other.stages.rollouts == cell.stages.rollouts
            && other.stages.rollout_grades == cell.stages.rollout_grades
    };
    let found = conditions.iter().filter_map(|condition| {
        let cell = condition.cells.iter().find(reads)?;
        Some((condition, *cell))
    });
    found.collect()
}

impl<'c, 'a> EvaluatedSet<'c, 'a> {
    pub(crate) fn new(
        evidence: &'a Evidence,
        set: &RolloutSet<'a>,
        estimated: &'c [Condition<'a>],
        rewarded: &'c [Condition<'a>],
    ) -> Self {
        let cell = set.cell;
        let (references, rewards) = (readers(estimated, cell), readers(rewarded, cell));
        let size = cell.group_size;
        let mut estimates: Vec<Part> =
            references.iter().map(|(of, cell)| estimate(evidence, of, cell, size)).collect();
        let of_reward = |(of, cell): &Reader<'c, 'a>| {
            Some(reward(evidence, of, cell, cell.stages.rewards.as_ref()?, size))
        };
        let mut reward_parts: Vec<Part> = rewards.iter().filter_map(of_reward).collect();
        distinguish(&mut estimates);
        distinguish(&mut reward_parts);
        let stages = &cell.stages;
        let policy = policy_label(evidence, &set.readers);
        let training = cell.training.as_ref();
        let head = SetHead {
            key: stages.rollouts.short().to_owned() + stages.rollout_grades.short(),
            kind: SetKind::Evaluation,
            label: policy,
            seed: cell.seed,
            model: cell.model.clone(),
            group_size: size,
            grader: cell.grader.clone(),
            stages: BTreeMap::from([
                ("prompts", stages.prompts.clone()),
                ("rollouts", stages.rollouts.clone()),
                ("rollout-grades", stages.rollout_grades.clone()),
            ]),
            step: training.map(|of| evidence.chosen_step(of).unwrap_or(of.num_steps)),
            has_rubric: evidence.has_rubric(cell),
            estimates,
            rewards: reward_parts,
        };
        Self { evidence, cell, references, rewards, head }
    }

    /// Returns the group of a prompt.
    pub(crate) fn group(&self, id: &PromptId, texts: &mut Texts) -> GroupView {
        let covers = |cell: &CellRecord| cell.prompts.contains(id);
        let mut group = GroupView {
            key: id.to_string(),
            rollouts: (0..self.cell.group_size).map(|i| self.rollout(id, i, texts)).collect(),
            estimates: Vec::new(),
            rewards: Vec::new(),
            flags: Vec::new(),
            tokens: Vec::new(),
        };
        for (_, cell) in &self.references {
            group.estimates.push(covers(cell).then(|| self.estimate(cell, id, texts)));
        }
        for (_, cell) in &self.rewards {
            group.rewards.push(covers(cell).then(|| self.reward(cell, id, texts)));
        }
        for index in 0..self.cell.group_size {
            let record = self.evidence.rollout(self.cell, &rollout_key(id, index));
            group.tokens.extend(record.map(|record| TokensView::new(&record.rollout, None)));
        }
        if !self.evidence.has_rubric(self.cell) {
            let facts = self.references.iter().zip(&self.head.estimates);
            let facts = facts.map(|((_, cell), part)| EstimateFacts {
                name: &part.name,
                is_majority: cell.aggregator == MAJORITY,
                given: answer_of(self.evidence, cell, id),
            });
            group.flags = answer_flags(&group, &facts.collect::<Vec<_>>());
        }
        group.flags.extend(failure_flags(&group));
        group
    }

    fn rollout(&self, id: &PromptId, index: u32, texts: &mut Texts) -> RolloutView {
        let Self { evidence, cell, .. } = self;
        let key = rollout_key(id, index);
        let stages = &cell.stages;
        let record = evidence.rollout(cell, &key).map(|record| &record.rollout);
        let mut view = RolloutView::new(Some(key.clone()), record, texts);
        match evidence.rollout_grade(cell, &key) {
            Some(grade) => view.add_grade(grade, texts),
            None => {
                let noted = [&stages.rollouts, &stages.rollout_grades];
                let noted = noted.iter().find_map(|stage| evidence.failure(stage, &key));
                view.reason = noted.unwrap_or_default().to_owned();
            }
        }
        let classes = evidence.classes(cell, id.as_str());
        view.class = classes.and_then(|of| of.classes.get(index as usize).copied().flatten());
        view
    }

    fn estimate(&self, cell: &CellRecord, id: &PromptId, texts: &mut Texts) -> EstimateView {
        let evidence = self.evidence;
        let aggregate = evidence.aggregate(cell, id.as_str()).map(|record| &record.aggregate);
        let mut view = EstimateView::new(aggregate, texts);
        match evidence.grade(cell, id.as_str()) {
            Some(grade) => view.add_grade(grade, texts),
            None => view.reason = reason("", &evidence.score(cell, id)),
        }
        view
    }

    fn reward(&self, cell: &CellRecord, id: &PromptId, texts: &mut Texts) -> RewardView {
        let group = self.evidence.reward(cell, id.as_str()).map(|record| &record.group);
        let noted = cell.stages.rewards.as_ref();
        let noted = noted.and_then(|stage| self.evidence.failure(stage, id.as_str()));
        let failure =
            group.is_none().then(|| noted.unwrap_or("the group is incomplete").to_owned());
        RewardView::new(group, failure, texts)
    }

    /// Returns the label of a prompt, from any of its grades.
    pub(crate) fn label(&self, id: &PromptId) -> Option<&str> {
        let grades = self.references.iter().map(|(_, cell)| *cell);
        let mut grades = grades.filter_map(|cell| self.evidence.grade(cell, id.as_str()));
        grades.next().map(|grade| grade.label.as_str())
    }
}
