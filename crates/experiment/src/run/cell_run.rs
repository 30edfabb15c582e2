//! The stages of one cell: answer classes, pseudo-references, grades and rewards.

use std::collections::BTreeMap;

use preceptor_answers::{classify, extract_boxed};
use preceptor_benchmarks::Task;
use preceptor_core::record::{AggregateRecord, AnswerClassRecord, RewardRecord};
use preceptor_core::{
    Aggregate, AggregateOutcome, Group, GroupReward, ModelRole, PromptId, PseudoReference, Rollout,
};
use preceptor_store::StageSpec;
use serde::Serialize;

use crate::Error;
use crate::plan::cell::Cell;
use crate::plan::stages::needs_of;
use crate::run::cached_model::CachedModel;
use crate::run::estimation::Estimation;
use crate::run::grading::grade_texts;
use crate::run::rollouts::prompt_key;
use crate::run::session::Session;
use crate::run::stage_filler::{Outcome, fill};

/// Failure of what needs a pseudo-reference that could not be made.
const NO_REFERENCE: &str = "the pseudo-reference could not be had";

/// A group, or why it is not whole.
type MaybeGroup = Result<Group, (PromptId, String)>;

fn group_key(group: &MaybeGroup) -> String {
    match group {
        Ok(group) => group.prompt.id.as_str().to_owned(),
        Err((prompt, _)) => prompt.as_str().to_owned(),
    }
}

/// Makes records of whole groups; the others fail with their reason.
fn of_whole_groups<R>(
    groups: &[&MaybeGroup],
    make: impl FnOnce(&[&Group]) -> Result<Vec<Outcome<R>>, Error>,
) -> Result<Vec<Outcome<R>>, Error> {
    let whole: Vec<&Group> = groups.iter().filter_map(|group| group.as_ref().ok()).collect();
    let mut made = make(&whole)?.into_iter();
    let outcome = |group: &&MaybeGroup| match group {
        Ok(_) => made.next().expect("one outcome for each group"),
        Err((_, reason)) => Outcome::Failed(reason.clone()),
    };
    Ok(groups.iter().map(outcome).collect())
}

/// Fills the stages that belong to one cell.
pub(crate) struct CellRun<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) session: &'c Session<'a>,
}

impl CellRun<'_, '_> {
    /// Returns the groups of the cell, in the order of its tasks.
    fn groups(&self, rollouts: &BTreeMap<PromptId, Vec<Rollout>>) -> Vec<MaybeGroup> {
        let group = |task: &Task| {
            let sampled = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
            let group = sampled.iter().take_while(|rollout| rollout.index < self.cell.group_size);
            let rollouts: Vec<_> = group.cloned().collect();
            if rollouts.len() == self.cell.group_size as usize {
                Ok(Group { prompt: task.prompt.clone(), rollouts })
            } else {
                let (got, wanted) = (rollouts.len(), self.cell.group_size);
                let reason = format!("the group has {got} of {wanted} rollouts");
                Err((task.prompt.id.clone(), reason))
            }
        };
        self.cell.tasks.tasks.iter().map(group).collect()
    }

    /// Fills the pseudo-references.
    pub(crate) fn fill_aggregates(
        &self,
        rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
    ) -> Result<(), Error> {
        let groups = self.groups(rollouts);
        let spec = &self.cell.stages.aggregates;
        self.fill_stage(spec, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| self.aggregates(groups))
        })
    }

    /// Fills a stage and counts what failed.
    fn fill_stage<'i, I, R: Serialize>(
        &self,
        spec: &StageSpec,
        items: &'i [I],
        key: impl Fn(&I) -> String,
        make: impl FnOnce(&[&'i I]) -> Result<Vec<Outcome<R>>, Error>,
    ) -> Result<(), Error> {
        let num_failed = fill(self.session, spec, items, key, make)?;
        self.session.count(|summary| summary.num_failed += num_failed);
        Ok(())
    }

    /// Fills every stage of the cell, given the rollouts by prompt.
    pub(crate) fn fill(&self, rollouts: &BTreeMap<PromptId, Vec<Rollout>>) -> Result<(), Error> {
        let Self { cell, session } = self;
        let groups = self.groups(rollouts);
        self.fill_stage(&cell.stages.answer_classes, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| {
                Ok(groups.iter().map(|group| Outcome::Record(answer_classes(group))).collect())
            })
        })?;
        self.fill_aggregates(rollouts)?;
        let aggregates = session.store.stage(&cell.stages.aggregates).load()?.records;
        self.fill_grades(&aggregates)?;
        self.fill_rewards(&groups, &aggregates)
    }

    /// Grades the pseudo-references.
    fn fill_grades(&self, aggregates: &BTreeMap<String, AggregateRecord>) -> Result<(), Error> {
        let Self { cell, session } = self;
        let tasks = &cell.tasks.tasks;
        self.fill_stage(&cell.stages.grades, tasks, prompt_key, |missing| {
            let has_aggregate = |task: &Task| aggregates.contains_key(task.prompt.id.as_str());
            let text = |task: &Task| Some(reference(aggregates, &task.prompt.id)?.text.as_str());
            let texts: Vec<_> = missing
                .iter()
                .filter(|task| has_aggregate(task))
                .map(|task| (*task, text(task)))
                .collect();
            let mut graded = grade_texts(cell, session, &texts)?.into_iter();
            let outcome = |task: &&Task| {
                if has_aggregate(task) {
                    graded.next().expect("one outcome for each text")
                } else {
                    Outcome::Failed(NO_REFERENCE.to_owned())
                }
            };
            Ok(missing.iter().map(outcome).collect())
        })
    }

    fn fill_rewards(
        &self,
        groups: &[MaybeGroup],
        aggregates: &BTreeMap<String, AggregateRecord>,
    ) -> Result<(), Error> {
        let Some(spec) = &self.cell.stages.rewards else { return Ok(()) };
        let needs_reference = needs_of(&self.cell.reward).reference;
        self.fill_stage(spec, groups, group_key, |missing| {
            of_whole_groups(missing, |groups| {
                let is_ready = |group: &&&Group| {
                    !needs_reference || aggregates.contains_key(group.prompt.id.as_str())
                };
                let ready: Vec<&Group> = groups.iter().filter(is_ready).copied().collect();
                let reference = |prompt: &PromptId| reference(aggregates, prompt);
                let mut derived = self.rewards(&ready, &reference)?.into_iter();
                let outcome = |group: &&Group| {
                    if is_ready(&group) {
                        derived.next().expect("one outcome for each group")
                    } else {
                        Outcome::Failed(NO_REFERENCE.to_owned())
                    }
                };
                Ok(groups.iter().map(outcome).collect())
            })
        })
    }

    fn aggregates(&self, groups: &[&Group]) -> Result<Vec<Outcome<AggregateRecord>>, Error> {
        let made = |(group, aggregate): (&&Group, Aggregate)| match &aggregate.outcome {
            AggregateOutcome::Abstained(reason) if reason.is_transient() => {
                Outcome::Failed(reason.name().to_owned())
            }
            _ => Outcome::Record(AggregateRecord { prompt: group.prompt.id.clone(), aggregate }),
        };
        let aggregates = self.with_estimation(|estimation| estimation.aggregates(groups))?;
        Ok(groups.iter().zip(aggregates).map(made).collect())
    }

    fn rewards<'r>(
        &self,
        groups: &[&Group],
        reference: &dyn Fn(&PromptId) -> Option<&'r PseudoReference>,
    ) -> Result<Vec<Outcome<RewardRecord>>, Error> {
        let made = |(group, derived): (&&Group, GroupReward)| {
            if derived.is_transient() {
                return Outcome::Failed("a call for a reward did not succeed".to_owned());
            }
            Outcome::Record(RewardRecord { prompt: group.prompt.id.clone(), group: derived })
        };
        let rewards = self.with_estimation(|estimation| estimation.rewards(groups, reference))?;
        Ok(groups.iter().zip(rewards).map(made).collect())
    }

    /// Estimates with a policy whose calls are kept.
    fn with_estimation<T>(
        &self,
        estimate: impl FnOnce(&Estimation<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { cell, session } = *self;
        let policy = CachedModel {
            session,
            role: ModelRole::Policy,
            name: cell.policy_name.clone(),
            identity: cell.model.clone(),
        };
        estimate(&Estimation { cell, session, policy: &policy, stage_prefix: "" })
    }
}

/// Returns the pseudo-reference of a prompt, if there is one.
fn reference<'r>(
    aggregates: &'r BTreeMap<String, AggregateRecord>,
    prompt: &PromptId,
) -> Option<&'r PseudoReference> {
    match &aggregates.get(prompt.as_str())?.aggregate.outcome {
        AggregateOutcome::Estimated(reference) => Some(reference),
        AggregateOutcome::Abstained(_) => None,
    }
}

fn answer_classes(group: &Group) -> AnswerClassRecord {
    let answers: Vec<_> =
        group.rollouts.iter().map(|rollout| extract_boxed(&rollout.text).answer).collect();
    let answers: Vec<_> = answers.iter().map(Option::as_deref).collect();
    let classes = classify(&answers);
    let number = |&class: &usize| (!classes.classes[class].is_abstention()).then_some(class as u32);
    AnswerClassRecord {
        prompt: group.prompt.id.clone(),
        classes: classes.class_of.iter().map(number).collect(),
    }
}
