//! Sampling the rollouts of a stage.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;

use preceptor_benchmarks::Task;
use preceptor_core::record::{PromptRecord, RolloutRecord, rollout_key};
use preceptor_core::{
    CallFailure, GenerationObserver, GenerationRequest, ModelRole, PromptId, Rollout, RolloutSeed,
    Usage,
};
use preceptor_store::{Keys, Stage};

use crate::Error;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::progress::Unit;
use crate::run::seeds::prompt_seed;
use crate::run::session::Session;
use crate::run::stage_filler::{FillReport, Outcome, StageFiller, fill};

/// Loads the rollouts of a stage by prompt, each list by rising index.
pub(crate) fn load_rollouts(stage: &Stage) -> Result<BTreeMap<PromptId, Vec<Rollout>>, Error> {
    let mut by_prompt: BTreeMap<PromptId, Vec<Rollout>> = BTreeMap::new();
    for record in stage.load::<RolloutRecord>()?.records.into_values() {
        by_prompt.entry(record.prompt).or_default().push(record.rollout);
    }
    for rollouts in by_prompt.values_mut() {
        rollouts.sort_by_key(|rollout| rollout.index);
    }
    Ok(by_prompt)
}

/// Records the prompts of a cell.
pub(crate) fn fill_prompts(cell: &Cell, session: &Session<'_>) -> Result<(), Error> {
    fill(session, &cell.stages.prompts, &cell.tasks.tasks, prompt_key, |missing| {
        let record = |task: &&Task| {
            Outcome::Record(PromptRecord {
                prompt: task.prompt.clone(),
                question: task.question.clone(),
                tags: task.tags.clone(),
            })
        };
        Ok(missing.iter().map(record).collect())
    })?;
    Ok(())
}

pub(crate) fn prompt_key(task: &Task) -> String {
    task.prompt.id.as_str().to_owned()
}

/// Samples the rollouts of a demand that are missing.
pub(crate) fn fill_rollouts(demand: &RolloutDemand, session: &Session<'_>) -> Result<(), Error> {
    let cell = &demand.cell;
    let stage = session.store.stage(&cell.stages.rollouts);
    let Keys { present, unreadable } = stage.read_keys()?;
    let label = demand.label();
    session.notice_unreadable(&label, &unreadable);
    let requests = missing_rollouts(demand, &present);
    let num_missing = requests.iter().map(|request| request.rollouts.len() as u64).sum();
    let num_wanted = cell.tasks.tasks.len() as u64 * u64::from(demand.group_size);
    let num_present = num_wanted - num_missing;
    session.count(|summary| summary.num_reused += num_present);
    if num_missing > 0 && session.options.only_stored_rollouts {
        return Err(Error::NoRollouts { label, num_missing });
    }
    let filler = StageFiller::new(session, stage);
    let filler = filler.shown(&label, Unit::Rollouts, num_present, num_wanted);
    if requests.is_empty() {
        filler.finish([], false)?;
        return Ok(());
    }
    let model = session.open(&cell.policy_name)?;
    let mut observer =
        RolloutWriter { requests: &requests, filler: filler.asking(&cell.policy_name) };
    let generated = model.generate(&requests, &cell.sampling, &mut observer);
    let keys = |request: &GenerationRequest| {
        let id = request.prompt.id.clone();
        let key = move |seed: &RolloutSeed| rollout_key(&id, seed.index);
        request.rollouts.iter().map(key).collect::<Vec<_>>()
    };
    let tried: Vec<String> = requests.iter().flat_map(keys).collect();
    let FillReport { cost, num_failed } =
        observer.filler.finish(tried.iter().map(String::as_str), generated.is_err())?;
    let usage = Usage {
        num_prompt_tokens: cost.num_prompt_tokens,
        num_generated_tokens: cost.num_generated_tokens,
    };
    session.count(|summary| {
        summary.usage += usage;
        summary.num_rollouts += cost.num_records;
        summary.num_failed += num_failed;
    });
    session.add_cost(ModelRole::Rollouts, |total| {
        total.num_calls += cost.num_records;
        total.usage += usage;
        total.seconds += cost.wall_secs;
        total.cost_usd += cost.cost_usd;
    });
    generated?;
    Ok(())
}

/// Returns requests for the rollouts that are not among the keys `present`.
fn missing_rollouts(demand: &RolloutDemand, present: &BTreeSet<String>) -> Vec<GenerationRequest> {
    let RolloutDemand { cell, group_size } = demand;
    let request = |task: &Task| {
        let id = &task.prompt.id;
        let seed = prompt_seed(cell.seed, "rollouts", id);
        let missing = (0..*group_size)
            .filter(|&index| !present.contains(&rollout_key(id, index)))
            .map(|index| RolloutSeed { index, seed: seed.derive_index(u64::from(index)) });
        GenerationRequest { prompt: task.prompt.clone(), rollouts: missing.collect() }
    };
    let requests = cell.tasks.tasks.iter().map(request);
    requests.filter(|request| !request.rollouts.is_empty()).collect()
}

/// Writes each rollout as it ends.
struct RolloutWriter<'r, 's, 'a> {
    requests: &'r [GenerationRequest],
    filler: StageFiller<'s, 'a>,
}

impl GenerationObserver for RolloutWriter<'_, '_, '_> {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let prompt = &self.requests[request].prompt.id;
        let record = RolloutRecord { prompt: prompt.clone(), rollout: rollout.clone() };
        Ok(self.filler.keep(&rollout_key(prompt, rollout.index), &record)?)
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        let key = rollout_key(&self.requests[request].prompt.id, index);
        self.filler.fail(key, failure.to_string());
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.filler.add_tokens(usage);
    }
}
