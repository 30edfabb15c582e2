//! Filling the stages of a plan.
//!
//! Stages are filled in the order of their arrows: rollouts, then what is computed from them. Only
//! records that are missing are made, so that running again resumes, and a plan whose stages are
//! full does nothing. Models are opened when the first call is missing, one at a time. What fails is
//! noted and counted; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_answers::{classify, extract_boxed};
use preceptor_benchmarks::Task;
use preceptor_core::record::{AggregateRecord, AnswerClassRecord, RewardRecord, rollout_key};
use preceptor_core::{
    Aggregate, AggregateOutcome, Generator, Group, GroupReward, ModelRole, PromptId,
    PseudoReference, Rollout, Usage,
};
use preceptor_models::GenerationOptions;
use preceptor_store::Store;

use crate::Error;
use crate::drawing::{fill_prompts, fill_rollouts, load_rollouts, prompt_key};
use crate::estimation::Estimation;
use crate::fill::{Filled, Made, fill};
use crate::grading::grade_texts;
use crate::model_host::ModelHost;
use crate::plan::{Cell, Plan, RolloutDemand};
use crate::progress::Progress;
use crate::recorded_model::{RecordedModel, RoleCost, Switchboard};
use crate::training::{TrainRun, Trained};

/// Settings of a run that don't reach its results.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Stop instead of drawing rollouts that are missing.
    pub only_stored_rollouts: bool,
    /// Sampling of policies that are trained.
    pub generation: GenerationOptions,
    /// Begin training runs that seem not to fit into memory.
    pub ignores_memory: bool,
    /// Bytes of each device's memory, in place of what it tells.
    pub device_bytes: Option<u64>,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// Rollouts that were drawn.
    pub num_rollouts: u64,
    /// Records that were there before.
    pub num_reused: u64,
    /// Tokens read and written.
    pub usage: Usage,
    /// What was asked beyond rollouts, by role.
    pub roles: BTreeMap<ModelRole, RoleCost>,
    /// Steps of training that were done.
    pub num_steps: u64,
    /// Records that could not be made. Running again tries them again.
    pub num_failed: u64,
}

/// Fills every stage of `plan` that is not full.
///
/// # Errors
///
/// Whatever stops the run. Records that were written stay; running again goes on from them.
pub fn run(
    plan: &Plan,
    store: &Store,
    models: &mut dyn ModelHost,
    options: RunOptions,
    progress: &mut dyn Progress,
) -> Result<RunSummary, Error> {
    let mut summary = RunSummary::default();
    for left_out in plan.left_out() {
        let cells = if left_out.num_cells == 1 { "cell" } else { "cells" };
        progress.notice(&format!(
            "left out {} ({} {cells}): {}",
            left_out.part, left_out.num_cells, left_out.reason
        ));
    }
    for notice in plan.notices() {
        progress.notice(notice);
    }
    check_endpoints(plan, store, models, options)?;
    let board = Switchboard::new(models, store, progress);
    let filled = fill_stages(plan, store, &board, options, &mut summary);
    let mut roles = board.costs.take();
    // Also of a run that was stopped: what it asked was paid for.
    let noted = plan.note_spending(store, &roles, &summary);
    filled?;
    noted?;
    roles.remove(&ModelRole::Rollouts);
    summary.roles = roles;
    Ok(summary)
}

fn fill_stages(
    plan: &Plan,
    store: &Store,
    board: &Switchboard<'_>,
    options: RunOptions,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let (trained, drawn): (Vec<_>, Vec<_>) =
        plan.rollout_demands().into_iter().partition(|demand| demand.cell.training.is_some());
    share(&drawn, store, board, |demand| {
        fill_prompts(&demand.cell, store)?;
        fill_rollouts(demand, store, board, options, summary)
    })?;
    share(&drawn, store, board, |demand| {
        let cells: Vec<Cell> = plan.cells_of(demand).cloned().collect();
        fill_cells(demand, &cells, store, board, summary)
    })?;
    share(&trained, store, board, |demand| {
        fill_trained(demand, plan, store, board, options, summary)
    })
}

/// Does `work` for each demand. What another process is at comes last: by then there is little to wait
/// for, and it finds everything there.
fn share(
    demands: &[RolloutDemand],
    store: &Store,
    board: &Switchboard<'_>,
    mut work: impl FnMut(&RolloutDemand) -> Result<(), Error>,
) -> Result<(), Error> {
    let stage = |demand: &RolloutDemand| match &demand.cell.training {
        Some(training) => store.stage(&training.steps),
        None => store.stage(&demand.cell.stages.rollouts),
    };
    let mut elsewhere = Vec::new();
    for demand in demands {
        match stage(demand).claim(false) {
            Some(_claim) => work(demand)?,
            None => elsewhere.push(demand),
        }
    }
    for demand in elsewhere {
        let label = demand.label();
        board.tell(|progress| progress.notice(&format!("{label}: another process is at it")));
        let _claim = stage(demand).claim(true);
        work(demand)?;
    }
    Ok(())
}

/// Fills what is computed from the rollouts of a demand.
fn fill_cells(
    demand: &RolloutDemand,
    cells: &[Cell],
    store: &Store,
    board: &Switchboard<'_>,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let rollouts = load_rollouts(&store.stage(&demand.cell.stages.rollouts))?;
    let mut graded: BTreeSet<&str> = BTreeSet::new();
    for cell in cells {
        // Once for each grader that a cell uses on them.
        if graded.insert(cell.stages.rollout_grades.digest().as_str()) {
            grade_rollouts(cell, &demand.cell.tasks.tasks, store, board, &rollouts, summary)?;
        }
    }
    for cell in cells {
        CellRun { cell, store, board }.fill(&rollouts, summary)?;
    }
    Ok(())
}

/// Trains the policy of a demand, draws its rollouts and fills what is computed from them. A policy
/// that nothing more is asked of is not loaded.
fn fill_trained(
    demand: &RolloutDemand,
    plan: &Plan,
    store: &Store,
    board: &Switchboard<'_>,
    options: RunOptions,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let cell = &demand.cell;
    let training = cell.training.as_ref().expect("the demand is one of a trained cell");
    let train = TrainRun { cell, training, store, board, options };
    train.regrade(summary)?;
    let (mut step, mut policy) = (train.course().result()?, None);
    let settled = |step| -> Result<RolloutDemand, Error> {
        Ok(RolloutDemand { cell: cell.settled(training, step)?, group_size: demand.group_size })
    };
    let cells = |step| -> Result<Vec<Cell>, Error> {
        plan.cells_of(demand).map(|cell| cell.settled(training, step)).collect()
    };
    let is_asked = match step {
        None => true,
        Some(step) => asks_policy(&settled(step)?, &cells(step)?, store)?,
    };
    if is_asked {
        if options.only_stored_rollouts {
            let label = demand.label();
            let num_missing = demand.keys().len() as u64;
            return Err(Error::NoRollouts { label, num_missing });
        }
        match train.run(summary)? {
            Trained::Halted(reason) => return halt(demand, store, board, &reason, summary),
            Trained::Policy(trained, result) => {
                (step, policy) = (Some(result), Some(trained));
            }
        }
    }
    train.course().keep_choice()?;
    let step = step.expect("it is decided, or the run has halted");
    let demand = settled(step)?;
    let cell = &demand.cell;
    if let Some(policy) = policy {
        board.lend(cell.policy_name.clone(), policy);
    }
    let filled = fill_prompts(cell, store)
        .and_then(|()| fill_rollouts(&demand, store, board, options, summary))
        .and_then(|()| fill_cells(&demand, &cells(step)?, store, board, summary));
    board.take_back(&cell.policy_name);
    filled
}

/// Returns whether the trained policy still has to draw the rollouts of `demand` or to answer the aggregators
/// of `cells`.
fn asks_policy(demand: &RolloutDemand, cells: &[Cell], store: &Store) -> Result<bool, Error> {
    let present = store.stage(&demand.cell.stages.rollouts).keys()?;
    let mut is_asked = !demand.keys().is_subset(&present);
    for cell in cells {
        let present = store.stage(&cell.stages.aggregates).keys()?;
        let mut prompts = cell.tasks.tasks.iter().map(|task| task.prompt.id.as_str());
        let is_whole = prompts.all(|prompt| present.contains(prompt));
        is_asked |= cell.aggregator.entry().needs.policy && !is_whole;
    }
    Ok(is_asked)
}

/// Notes that the policy of a demand can't be had now: its rollouts are failures with the reason, and
/// the next run tries again.
fn halt(
    demand: &RolloutDemand,
    store: &Store,
    board: &Switchboard<'_>,
    reason: &str,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let label = demand.label();
    board.tell(|progress| progress.notice(&format!("{label}: the training run halts: {reason}")));
    fill_prompts(&demand.cell, store)?;
    let keys = demand.keys();
    let failures = keys.iter().map(|key| (key.clone(), reason.to_owned())).collect();
    let stage = store.stage(&demand.cell.stages.rollouts);
    stage.note_failures(keys.iter().map(String::as_str), &failures)?;
    summary.num_failed += 1;
    Ok(())
}

impl RunSummary {
    pub(crate) fn note(&mut self, filled: Filled) {
        self.num_failed += filled.num_failed;
    }
}

/// Opens the endpoints that will be called, so that a key that is missing stops the run before anything
/// was paid for.
fn check_endpoints(
    plan: &Plan,
    store: &Store,
    models: &mut dyn ModelHost,
    options: RunOptions,
) -> Result<(), Error> {
    for name in plan.usage(store, options.only_stored_rollouts)?.into_keys() {
        if models.is_remote(&name) {
            models.open(&name)?;
        }
    }
    Ok(())
}

/// The benchmark's judge of a cell, where its grader asks one.
fn eval_judge<'b, 'a>(cell: &Cell, board: &'b Switchboard<'a>) -> Option<RecordedModel<'b, 'a>> {
    cell.eval_judge.as_ref().map(|judge| RecordedModel {
        board,
        role: ModelRole::EvalJudge,
        name: judge.settings.model.clone(),
        identity: judge.identity.clone(),
    })
}

/// Grades every rollout of `tasks` as `cell` does.
pub(crate) fn grade_rollouts(
    cell: &Cell,
    tasks: &[Task],
    store: &Store,
    board: &Switchboard<'_>,
    rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let mut items = Vec::new();
    for task in tasks {
        let drawn = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
        items.extend(drawn.iter().map(|rollout| (task, rollout)));
    }
    let key = |(task, rollout): &(&Task, &Rollout)| rollout_key(&task.prompt.id, rollout.index);
    let judge = eval_judge(cell, board);
    let judge = judge.as_ref().map(|judge| judge as &dyn Generator);
    let filled = fill(store, &cell.stages.rollout_grades, &items, key, |missing| {
        let texts: Vec<_> =
            missing.iter().map(|(task, o)| (*task, Some(o.text.as_str()))).collect();
        grade_texts(cell, judge, &texts)
    })?;
    summary.note(filled);
    Ok(())
}

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
    make: impl FnOnce(&[&Group]) -> Result<Vec<Made<R>>, Error>,
) -> Result<Vec<Made<R>>, Error> {
    let whole: Vec<&Group> = groups.iter().filter_map(|group| group.as_ref().ok()).collect();
    let mut made = make(&whole)?.into_iter();
    let outcome = |group: &&MaybeGroup| match group {
        Ok(_) => made.next().expect("one outcome for each group"),
        Err((_, reason)) => Made::Failed(reason.clone()),
    };
    Ok(groups.iter().map(outcome).collect())
}

/// Fills the stages that belong to one cell.
pub(crate) struct CellRun<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) store: &'c Store,
    pub(crate) board: &'c Switchboard<'a>,
}

impl CellRun<'_, '_> {
    /// The groups of the cell, in the order of its tasks.
    fn groups(&self, rollouts: &BTreeMap<PromptId, Vec<Rollout>>) -> Vec<MaybeGroup> {
        let group = |task: &Task| {
            let drawn = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
            let group = drawn.iter().take_while(|rollout| rollout.index < self.cell.group_size);
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
        summary: &mut RunSummary,
    ) -> Result<(), Error> {
        let groups = self.groups(rollouts);
        let spec = &self.cell.stages.aggregates;
        summary.note(fill(self.store, spec, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| self.aggregates(groups))
        })?);
        Ok(())
    }

    fn fill(
        &self,
        rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
        summary: &mut RunSummary,
    ) -> Result<(), Error> {
        let Self { cell, store, .. } = self;
        let groups = self.groups(rollouts);
        summary.note(fill(store, &cell.stages.answer_classes, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| {
                Ok(groups.iter().map(|group| Made::Record(answer_classes(group))).collect())
            })
        })?);
        self.fill_aggregates(rollouts, summary)?;
        let aggregates = store.stage(&cell.stages.aggregates).load::<AggregateRecord>()?.records;
        let reference =
            |prompt: &PromptId| match &aggregates.get(prompt.as_str())?.aggregate.outcome {
                AggregateOutcome::Estimated(reference) => Some(reference),
                AggregateOutcome::Abstained(_) => None,
            };

        let judge = eval_judge(cell, self.board);
        let judge = judge.as_ref().map(|judge| judge as &dyn Generator);
        let filled = fill(store, &cell.stages.grades, &cell.tasks.tasks, prompt_key, |missing| {
            let has_aggregate = |task: &Task| aggregates.contains_key(task.prompt.id.as_str());
            let texts: Vec<_> = missing
                .iter()
                .filter(|task| has_aggregate(task))
                .map(|task| (*task, reference(&task.prompt.id).map(|r| r.text.as_str())))
                .collect();
            let mut made = grade_texts(cell, judge, &texts)?.into_iter();
            let outcome = |task: &&Task| match has_aggregate(task) {
                true => made.next().expect("one outcome for each text"),
                false => Made::Failed("the pseudo-reference could not be had".to_owned()),
            };
            Ok(missing.iter().map(outcome).collect())
        })?;
        summary.note(filled);

        let Some(spec) = &cell.stages.rewards else { return Ok(()) };
        let needs_reference = crate::stages::needs_of(&cell.reward).reference;
        summary.note(fill(store, spec, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| {
                let ready = |group: &&&Group| {
                    !needs_reference || aggregates.contains_key(group.prompt.id.as_str())
                };
                let derived: Vec<&Group> = groups.iter().filter(ready).copied().collect();
                let mut made = self.rewards(&derived, &reference)?.into_iter();
                let outcome = |group: &&Group| match ready(&group) {
                    true => made.next().expect("one outcome for each group"),
                    false => Made::Failed("the pseudo-reference could not be had".to_owned()),
                };
                Ok(groups.iter().map(outcome).collect())
            })
        })?);
        Ok(())
    }

    fn aggregates(&self, groups: &[&Group]) -> Result<Vec<Made<AggregateRecord>>, Error> {
        let made = |(group, aggregate): (&&Group, Aggregate)| match &aggregate.outcome {
            AggregateOutcome::Abstained(reason) if reason.is_transient() => {
                Made::Failed(reason.name().to_owned())
            }
            _ => Made::Record(AggregateRecord { prompt: group.prompt.id.clone(), aggregate }),
        };
        let aggregates = self.with_estimation(|estimation| estimation.aggregates(groups))?;
        Ok(groups.iter().zip(aggregates).map(made).collect())
    }

    fn rewards<'r>(
        &self,
        groups: &[&Group],
        reference: &dyn Fn(&PromptId) -> Option<&'r PseudoReference>,
    ) -> Result<Vec<Made<RewardRecord>>, Error> {
        let made = |(group, derived): (&&Group, GroupReward)| {
            if derived.is_transient() {
                return Made::Failed("a call for a reward did not succeed".to_owned());
            }
            Made::Record(RewardRecord { prompt: group.prompt.id.clone(), group: derived })
        };
        let rewards = self.with_estimation(|estimation| estimation.rewards(groups, reference))?;
        Ok(groups.iter().zip(rewards).map(made).collect())
    }

    /// Estimates with a policy whose calls are kept.
    fn with_estimation<T>(
        &self,
        use_it: impl FnOnce(&Estimation<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { cell, board, .. } = *self;
        let policy = RecordedModel {
            board,
            role: ModelRole::Policy,
            name: cell.policy_name.clone(),
            identity: cell.model.clone(),
        };
        use_it(&Estimation { cell, board, policy: &policy, stage_prefix: "" })
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
