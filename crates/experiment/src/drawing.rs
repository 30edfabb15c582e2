//! Drawing the rollouts of a stage.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::time::Instant;

use preceptor_benchmarks::Task;
use preceptor_core::record::{CostRecord, PromptRecord, RolloutRecord, rollout_key};
use preceptor_core::{
    CallFailure, GenerationObserver, GenerationRequest, ModelRole, PromptId, Rollout, RolloutSeed,
    Seed, Usage,
};
use preceptor_store::{Keys, Stage, Store, Writer};

use crate::Error;
use crate::fill::{Made, fill};
use crate::plan::{Cell, RolloutDemand};
use crate::progress::Unit;
use crate::recorded_model::Switchboard;
use crate::run::{RunOptions, RunSummary};

/// The rollouts of a stage by prompt, each list by rising index.
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

/// The stream of everything that is drawn for one prompt in one stage of one run.
pub(crate) fn prompt_seed(run_seed: u64, stage: &str, prompt: &PromptId) -> Seed {
    Seed::root(run_seed).derive(stage).derive(prompt.as_str())
}

pub(crate) fn fill_prompts(cell: &Cell, store: &Store) -> Result<(), Error> {
    fill(store, &cell.stages.prompts, &cell.tasks.tasks, prompt_key, |missing| {
        let record = |task: &&Task| {
            Made::Record(PromptRecord {
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

pub(crate) fn fill_rollouts(
    demand: &RolloutDemand,
    store: &Store,
    board: &Switchboard<'_>,
    options: RunOptions,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let cell = &demand.cell;
    let stage = store.stage(&cell.stages.rollouts);
    let Keys { present, unreadable } = stage.read_keys()?;
    board.tell_unreadable(&demand.label(), &unreadable);
    let mut requests = Vec::new();
    for task in &cell.tasks.tasks {
        let id = &task.prompt.id;
        let seed = prompt_seed(cell.seed, "rollouts", id);
        let missing: Vec<_> = (0..demand.group_size)
            .filter(|&index| !present.contains(&rollout_key(id, index)))
            .map(|index| RolloutSeed { index, seed: seed.derive_index(u64::from(index)) })
            .collect();
        if !missing.is_empty() {
            requests.push(GenerationRequest { prompt: task.prompt.clone(), rollouts: missing });
        }
    }
    let num_missing: usize = requests.iter().map(|request| request.rollouts.len()).sum();
    let num_wanted = cell.tasks.tasks.len() as u64 * u64::from(demand.group_size);
    let num_present = num_wanted - num_missing as u64;
    summary.num_reused += num_present;
    if num_missing > 0 && options.only_stored_rollouts {
        let label = demand.label();
        return Err(Error::NoRollouts { label, num_missing: num_missing as u64 });
    }
    let label = demand.label();
    board.tell(|progress| {
        progress.stage_started(&label, Unit::Rollouts, num_present, num_wanted);
    });
    if !requests.is_empty() {
        let name = &cell.policy_name;
        let model = board.open(name)?;
        let cost_before = board.cost_usd(name);
        #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
        let started = Instant::now();
        let mut keeper = Keeper {
            requests: &requests,
            writer: stage.writer(),
            board,
            cost: CostRecord::default(),
            failures: BTreeMap::new(),
        };
        let generated = model.generate(&requests, &cell.sampling, &mut keeper);
        let Keeper { mut writer, cost, failures, .. } = keeper;
        writer.sync()?;
        drop(writer);
        let cost = CostRecord {
            wall_secs: started.elapsed().as_secs_f64(),
            cost_usd: board.cost_usd(name) - cost_before,
            ..cost
        };
        if cost.num_records > 0 {
            stage.add_cost(&cost)?;
        }
        summary.usage += note_drawn(board, &cost);
        let tried: Vec<String> = requests
            .iter()
            .flat_map(|request| {
                let id = &request.prompt.id;
                request.rollouts.iter().map(|seed| rollout_key(id, seed.index))
            })
            .collect();
        stage.note_failures(tried.iter().map(String::as_str), &failures)?;
        summary.num_rollouts += cost.num_records;
        summary.num_failed += failures.len() as u64;
        generated?;
    }
    // Also when nothing was missing: a killed run may have left parts.
    stage.compact()?;
    board.tell(|progress| progress.stage_finished());
    Ok(())
}

/// Counts what drawing cost among the run's roles, and returns its tokens.
fn note_drawn(board: &Switchboard<'_>, cost: &CostRecord) -> Usage {
    let usage = Usage {
        num_prompt_tokens: cost.num_prompt_tokens,
        num_generated_tokens: cost.num_generated_tokens,
    };
    board.add_cost(ModelRole::Rollouts, |total| {
        total.num_calls += cost.num_records;
        total.usage += usage;
        total.seconds += cost.wall_secs;
        total.cost_usd += cost.cost_usd;
    });
    usage
}

/// Writes each rollout as it ends.
struct Keeper<'k, 'a> {
    requests: &'k [GenerationRequest],
    writer: Writer,
    board: &'k Switchboard<'a>,
    cost: CostRecord,
    failures: BTreeMap<String, String>,
}

impl GenerationObserver for Keeper<'_, '_> {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let prompt = &self.requests[request].prompt.id;
        let record = RolloutRecord { prompt: prompt.clone(), rollout: rollout.clone() };
        self.writer.append(&rollout_key(prompt, rollout.index), &record)?;
        self.cost.num_records += 1;
        self.board.tell(|progress| progress.record_added());
        Ok(())
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        let key = rollout_key(&self.requests[request].prompt.id, index);
        self.failures.insert(key, failure.to_string());
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.cost.num_prompt_tokens += usage.num_prompt_tokens;
        self.cost.num_generated_tokens += usage.num_generated_tokens;
        self.board.tell(|progress| progress.tokens(usage));
    }
}
