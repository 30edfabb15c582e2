//! Filling the stages of a plan.
//!
//! Stages are filled in the order of their arrows: rollouts, then what is computed from them. Only
//! records that are missing are made, so that running again resumes, and a plan whose stages are
//! full does nothing. Models are opened when the first call is missing, one at a time. What fails is
//! noted and counted; the others continue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use preceptor_core::record::CostRecord;
use preceptor_core::{ModelRole, Usage};
use preceptor_store::Store;

use crate::Error;
use crate::models::loader::ModelLoader;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::plan::resolved::Plan;
use crate::progress::Progress;
use crate::run::cell_run::CellRun;
use crate::run::grading::grade_rollouts;
use crate::run::rollouts::{fill_prompts, fill_rollouts, load_rollouts};
use crate::run::session::Session;
use crate::run::summary::{RoleCost, RunOptions, RunSummary};
use crate::training::run::{TrainRun, TrainingEnd};

/// Fills every stage of `plan` that is not full.
///
/// # Errors
///
/// Any error that stops the run. Records that were written stay; a rerun resumes from them.
pub fn run(
    plan: &Plan,
    store: &Store,
    models: &mut dyn ModelLoader,
    options: RunOptions,
    progress: &mut dyn Progress,
) -> Result<RunSummary, Error> {
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
    let session = Session::new(models, store, options, progress);
    session.count_cells(|cells| cells.num_cells = plan.cells().len());
    let filled = fill_stages(plan, &session);
    let mut summary = session.take_summary();
    // A run that was stopped paid for its calls too.
    let noted = note_spending(plan, store, &summary);
    filled?;
    noted?;
    summary.roles.remove(&ModelRole::Rollouts);
    Ok(summary)
}

/// Notes what a run spent, by role.
fn note_spending(plan: &Plan, store: &Store, summary: &RunSummary) -> Result<(), Error> {
    let record = |cost: &RoleCost| CostRecord {
        num_records: cost.num_calls,
        num_prompt_tokens: cost.usage.num_prompt_tokens,
        num_generated_tokens: cost.usage.num_generated_tokens,
        wall_secs: cost.seconds,
        cost_usd: cost.cost_usd,
    };
    let mut spent: BTreeMap<ModelRole, CostRecord> =
        summary.roles.iter().map(|(role, cost)| (*role, record(cost))).collect();
    let sampled = spent.get(&ModelRole::Rollouts).cloned().unwrap_or_default();
    let Usage { num_prompt_tokens, num_generated_tokens } = summary.usage;
    let trained = CostRecord {
        num_records: summary.num_steps,
        num_prompt_tokens: num_prompt_tokens - sampled.num_prompt_tokens,
        num_generated_tokens: num_generated_tokens - sampled.num_generated_tokens,
        ..CostRecord::default()
    };
    spent.insert(ModelRole::Training, trained);
    plan.note_spending(store, &spent)
}

fn fill_stages(plan: &Plan, session: &Session<'_>) -> Result<(), Error> {
    let (trained, untrained): (Vec<_>, Vec<_>) =
        plan.rollout_demands().into_iter().partition(|demand| demand.cell.training.is_some());
    let counted = |demand: &RolloutDemand, work: &dyn Fn() -> Result<(), Error>| {
        session.count_cells(|cells| cells.num_running = plan.cells_of(demand).count());
        work()?;
        session.count_cells(|cells| cells.num_running = 0);
        Ok(())
    };
    share(&untrained, session, |demand| {
        counted(demand, &|| {
            fill_prompts(&demand.cell, session)?;
            fill_rollouts(demand, session)
        })
    })?;
    share(&untrained, session, |demand| {
        let cells: Vec<Cell> = plan.cells_of(demand).cloned().collect();
        counted(demand, &|| fill_cells(demand, &cells, session))
    })?;
    share(&trained, session, |demand| counted(demand, &|| fill_trained(demand, plan, session)))
}

/// Runs `work` for each demand. A demand that another process has claimed, or takes over, comes last: by
/// then there is little to wait for, and its records are stored.
fn share(
    demands: &[RolloutDemand],
    session: &Session<'_>,
    mut work: impl FnMut(&RolloutDemand) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut elsewhere = VecDeque::new();
    for demand in demands {
        session.check_stop()?;
        let stage = session.store.stage(demand.cell.claimed_stage());
        match session.try_claimed(&stage, || work(demand)) {
            Ok(Some(())) => {}
            Ok(None) => elsewhere.push_back(demand),
            Err(error) => elsewhere.push_back(unless_taken_over(demand, session, error)?),
        }
    }
    while let Some(demand) = elsewhere.pop_front() {
        session.check_stop()?;
        let stage = session.store.stage(demand.cell.claimed_stage());
        if let Err(error) = session.claimed(&stage, &demand.label(), || work(demand)) {
            elsewhere.push_back(unless_taken_over(demand, session, error)?);
        }
    }
    Ok(())
}

/// Returns the demand if another process has taken it over, otherwise the error.
fn unless_taken_over<'d>(
    demand: &'d RolloutDemand,
    session: &Session<'_>,
    error: Error,
) -> Result<&'d RolloutDemand, Error> {
    if !error.is_claim_lost() {
        return Err(error);
    }
    let text = error.to_string();
    let reason = text.split('\n').next().unwrap_or_default();
    session.notice(&format!("{}: failed to {reason}; it comes last now", demand.label()));
    Ok(demand)
}

/// Fills the stages that are computed from the rollouts of a demand.
fn fill_cells(demand: &RolloutDemand, cells: &[Cell], session: &Session<'_>) -> Result<(), Error> {
    let rollouts = load_rollouts(&session.store.stage(&demand.cell.stages.rollouts))?;
    let mut graded: BTreeSet<&str> = BTreeSet::new();
    for cell in cells {
        // Once for each grader that a cell uses on them.
        if graded.insert(cell.stages.rollout_grades.digest().as_str()) {
            let num_failed = grade_rollouts(cell, &demand.cell.tasks.tasks, session, &rollouts)?;
            session.count(|summary| summary.num_failed += num_failed);
        }
    }
    for cell in cells {
        CellRun { cell, session }.fill(&rollouts)?;
        session.count_cells(|cells| {
            cells.num_running -= 1;
            cells.num_done += 1;
        });
    }
    Ok(())
}

/// Trains the policy of a demand, samples its rollouts and fills what is computed from them. A policy
/// that has nothing left to answer is not loaded.
fn fill_trained(demand: &RolloutDemand, plan: &Plan, session: &Session<'_>) -> Result<(), Error> {
    let cell = &demand.cell;
    let training = cell.training.as_ref().expect("the demand is one of a trained cell");
    let train = TrainRun { cell, training, session };
    train.regrade()?;
    let (mut step, mut policy) = (train.course().result()?, None);
    let settled = |step| -> Result<RolloutDemand, Error> {
        Ok(RolloutDemand { cell: cell.settled(training, step)?, group_size: demand.group_size })
    };
    let cells = |step| -> Result<Vec<Cell>, Error> {
        plan.cells_of(demand).map(|cell| cell.settled(training, step)).collect()
    };
    let is_asked = match step {
        None => true,
        Some(step) => asks_policy(&settled(step)?, &cells(step)?, session.store)?,
    };
    if is_asked {
        if session.options.only_stored_rollouts {
            let label = demand.label();
            let num_missing = demand.keys().len() as u64;
            return Err(Error::NoRollouts { label, num_missing });
        }
        match train.run()? {
            TrainingEnd::Halted(reason) => return halt(demand, session, &reason),
            TrainingEnd::Policy(trained, result) => {
                (step, policy) = (Some(result), Some(trained));
            }
        }
    }
    train.course().keep_choice()?;
    let step = step.expect("it is decided, or the run has halted");
    let demand = settled(step)?;
    let fill = || {
        fill_prompts(&demand.cell, session)?;
        fill_rollouts(&demand, session)?;
        fill_cells(&demand, &cells(step)?, session)
    };
    match policy {
        Some(policy) => session.with_policy(&demand.cell.policy_name, policy, fill),
        None => fill(),
    }
}

/// Returns true if the trained policy still has to sample the rollouts of `demand` or to answer the
/// aggregators of `cells`.
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

/// Notes that the policy of a demand can't be had now: its rollouts fail for this reason, and the next
/// run tries again.
fn halt(demand: &RolloutDemand, session: &Session<'_>, reason: &str) -> Result<(), Error> {
    let label = demand.label();
    session.notice(&format!("{label}: the training run halts: {reason}"));
    fill_prompts(&demand.cell, session)?;
    let keys = demand.keys();
    let failures = keys.iter().map(|key| (key.clone(), reason.to_owned())).collect();
    let stage = session.store.stage(&demand.cell.stages.rollouts);
    stage.note_failures(keys.iter().map(String::as_str), &failures)?;
    session.count(|summary| summary.num_failed += 1);
    Ok(())
}

/// Opens the endpoints that will be called, so that a key that is missing stops the run before anything
/// was paid for.
fn check_endpoints(
    plan: &Plan,
    store: &Store,
    models: &mut dyn ModelLoader,
    options: RunOptions,
) -> Result<(), Error> {
    for name in plan.usage(store, options.only_stored_rollouts)?.into_keys() {
        if models.is_remote(&name) {
            models.open(&name)?;
        }
    }
    Ok(())
}
