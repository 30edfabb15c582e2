//! Groups of evaluated policies, with all conditions that read them.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::PromptId;
use preceptor_core::record::{CellRecord, rollout_key};

use crate::answers::answer_of;
use crate::condition::{Condition, MAJORITY};
use crate::evidence::{Evidence, RolloutSet};
use crate::explorer::details::Details;
use crate::explorer::flags::{EstimateFacts, answer_flags, failure_flags};
use crate::explorer::named::{Part, SetHead, SetKind, distinguish, estimate, policy_label, reward};
use crate::explorer::texts::Texts;
use crate::explorer::view::{EstimateView, GroupView, RewardView, RolloutView, TokensView, reason};

/// A condition with its cell that reads the set.
struct Reader<'c, 'a> {
    condition: &'c Condition<'a>,
    cell: &'a CellRecord,
    prompts: BTreeSet<&'a PromptId>,
}

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
        let cell: &'a CellRecord = condition.cells.iter().find(reads)?;
        Some(Reader { condition, cell, prompts: cell.prompts.iter().collect() })
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
            references.iter().map(|of| estimate(evidence, of.condition, of.cell, size)).collect();
        let of_reward = |of: &Reader<'c, 'a>| {
            let stage = of.cell.stages.rewards.as_ref()?;
            Some(reward(evidence, of.condition, of.cell, stage, size))
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

    /// Returns the cells that made something from the groups.
    pub(crate) fn readers(&self) -> Vec<&'a CellRecord> {
        self.references.iter().chain(&self.rewards).map(|reader| reader.cell).collect()
    }

    /// Returns the group of a prompt, whose records are among `details`.
    pub(crate) fn group(&self, id: &PromptId, details: &Details, texts: &mut Texts) -> GroupView {
        let covers = |of: &Reader<'c, 'a>| of.prompts.contains(id);
        let indices = 0..self.cell.group_size;
        let mut group = GroupView {
            key: id.to_string(),
            rollouts: indices.clone().map(|i| self.rollout(id, i, details, texts)).collect(),
            estimates: Vec::new(),
            rewards: Vec::new(),
            flags: Vec::new(),
            tokens: Vec::new(),
        };
        for of in &self.references {
            let estimate = || self.estimate(of.cell, id, details, texts);
            group.estimates.push(covers(of).then(estimate));
        }
        for of in &self.rewards {
            group.rewards.push(covers(of).then(|| self.reward(of.cell, id, details, texts)));
        }
        for index in indices {
            let record = details.rollouts.get(&rollout_key(id, index));
            group.tokens.extend(record.map(|record| TokensView::new(&record.rollout, None)));
        }
        if !self.evidence.has_rubric(self.cell) {
            let facts = self.references.iter().zip(&self.head.estimates);
            let facts = facts.map(|(of, part)| EstimateFacts {
                name: &part.name,
                is_majority: of.cell.aggregator == MAJORITY,
                given: answer_of(self.evidence, of.cell, id),
            });
            group.flags = answer_flags(&group, &facts.collect::<Vec<_>>());
        }
        group.flags.extend(failure_flags(&group));
        group
    }

    fn rollout(
        &self,
        id: &PromptId,
        index: u32,
        details: &Details,
        texts: &mut Texts,
    ) -> RolloutView {
        let Self { evidence, cell, .. } = self;
        let key = rollout_key(id, index);
        let stages = &cell.stages;
        let record = details.rollouts.get(&key).map(|record| &record.rollout);
        let mut view = RolloutView::new(Some(key.clone()), record, texts);
        match details.rollout_grades.get(&key) {
            Some(grade) => view.add_grade(grade, texts),
            None => {
                let noted = [&stages.rollouts, &stages.rollout_grades];
                let noted = noted.iter().find_map(|stage| evidence.failure(stage, &key));
                view.reason = noted.unwrap_or_default().to_owned();
            }
        }
        let classes = evidence.classes(cell, id.as_str());
        view.class = classes.and_then(|of| of.get(index as usize).copied().flatten());
        view
    }

    fn estimate(
        &self,
        cell: &CellRecord,
        id: &PromptId,
        details: &Details,
        texts: &mut Texts,
    ) -> EstimateView {
        let aggregate = details.aggregates[&cell.stages.aggregates].get(id.as_str());
        let aggregate = aggregate.map(|record| &record.aggregate);
        let mut view = EstimateView::new(aggregate, texts);
        match details.grades[&cell.stages.grades].get(id.as_str()) {
            Some(grade) => view.add_grade(grade, texts),
            None => view.reason = reason("", &self.evidence.score(cell, id)),
        }
        view
    }

    fn reward(
        &self,
        cell: &CellRecord,
        id: &PromptId,
        details: &Details,
        texts: &mut Texts,
    ) -> RewardView {
        let stage = cell.stages.rewards.as_ref();
        let group = stage.and_then(|stage| details.rewards.get(stage)?.get(id.as_str()));
        let group = group.map(|record| &record.group);
        let noted = stage.and_then(|stage| self.evidence.failure(stage, id.as_str()));
        let failure =
            group.is_none().then(|| noted.unwrap_or("the group is incomplete").to_owned());
        RewardView::new(group, failure, texts)
    }

    /// Returns the label of a prompt, from any of its grades.
    pub(crate) fn label<'d>(&self, id: &PromptId, details: &'d Details) -> Option<&'d str> {
        let grades = self.references.iter().map(|of| &details.grades[&of.cell.stages.grades]);
        let mut grades = grades.filter_map(|of_cell| of_cell.get(id.as_str()));
        grades.next().map(|grade| grade.label.as_str())
    }
}
