//! Filling the stages of a plan.
//!
//! Stages are filled in the order of their arrows: rollouts, then what is computed from them. Only
//! records that are missing are made, so that running again resumes, and a plan whose stages are
//! full does nothing. Models are loaded when the first rollout is missing, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::time::Instant;

use preceptor_answers::{classify, extract_boxed};
use preceptor_benchmarks::{Task, grade};
use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CostRecord, GradeRecord, PromptRecord, RolloutRecord,
    rollout_key,
};
use preceptor_core::{
    AggregateOutcome, AggregateRequest, GenerationObserver, GenerationRequest, Generator, Group,
    PromptId, Rollout, RolloutSeed, Seed, Usage,
};
use preceptor_store::{Stage, StageSpec, Store, Writer};
use serde::Serialize;

use crate::Error;
use crate::catalog::AggregatorContext;
use crate::model_host::ModelHost;
use crate::plan::{Cell, Plan, RolloutDemand};
use crate::progress::Progress;

/// Settings of a run that don't reach its results.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Rollouts that were drawn.
    pub num_rollouts: u64,
    /// Records that were there before.
    pub num_reused: u64,
    /// Tokens read and written.
    pub usage: Usage,
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
    _options: RunOptions,
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
    let demands = plan.rollout_demands();
    let mut loaded: Option<(String, Box<dyn Generator>)> = None;
    for demand in &demands {
        fill_prompts(&demand.cell, store)?;
        fill_rollouts(demand, store, models, &mut loaded, progress, &mut summary)?;
        fill_rollout_grades(demand, plan, store)?;
    }
    drop(loaded);
    for demand in &demands {
        let rollouts = load_rollouts(&store.stage(&demand.cell.stages.rollouts))?;
        let same_stage = |cell: &&Cell| cell.stages.rollouts == demand.cell.stages.rollouts;
        for cell in plan.cells().iter().filter(same_stage) {
            fill_cell(cell, &rollouts, store)?;
        }
    }
    Ok(summary)
}

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
fn prompt_seed(run_seed: u64, stage: &str, prompt: &PromptId) -> Seed {
    Seed::root(run_seed).derive(stage).derive(prompt.as_str())
}

fn fill_prompts(cell: &Cell, store: &Store) -> Result<(), Error> {
    fill(store, &cell.stages.prompts, &cell.tasks.tasks, prompt_key, |missing| {
        let record = |task: &&Task| PromptRecord {
            prompt: task.prompt.clone(),
            question: task.question.clone(),
            tags: task.tags.clone(),
        };
        Ok(missing.iter().map(record).collect())
    })
}

fn prompt_key(task: &Task) -> String {
    task.prompt.id.as_str().to_owned()
}

fn fill_rollouts(
    demand: &RolloutDemand,
    store: &Store,
    models: &mut dyn ModelHost,
    loaded: &mut Option<(String, Box<dyn Generator>)>,
    progress: &mut dyn Progress,
    summary: &mut RunSummary,
) -> Result<(), Error> {
    let cell = &demand.cell;
    let stage = store.stage(&cell.stages.rollouts);
    let present = stage.keys()?;
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
    progress.stage_started(&demand.label(), num_present, num_wanted);
    if !requests.is_empty() {
        if loaded.as_ref().is_none_or(|(name, _)| *name != cell.model_name) {
            // Two models at once may not fit.
            *loaded = None;
            *loaded = Some((cell.model_name.clone(), models.open(&cell.model_name)?));
        }
        let (_, generator) = loaded.as_ref().expect("loaded above");
        #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
        let started = Instant::now();
        let mut keeper = Keeper {
            requests: &requests,
            writer: stage.writer(),
            progress,
            cost: CostRecord::default(),
        };
        let generated = generator.generate(&requests, &cell.sampling, &mut keeper);
        let Keeper { mut writer, cost, .. } = keeper;
        writer.sync()?;
        drop(writer);
        if cost.num_records > 0 {
            stage.add_cost(&CostRecord {
                wall_secs: started.elapsed().as_secs_f64(),
                ..cost.clone()
            })?;
        }
        summary.num_rollouts += cost.num_records;
        summary.usage += Usage {
            num_prompt_tokens: cost.num_prompt_tokens,
            num_generated_tokens: cost.num_generated_tokens,
        };
        generated?;
    }
    // Also when nothing was missing: a killed run may have left parts.
    stage.compact()?;
    progress.stage_finished();
    Ok(())
}

/// Writes each rollout as it ends.
struct Keeper<'a> {
    requests: &'a [GenerationRequest],
    writer: Writer,
    progress: &'a mut dyn Progress,
    cost: CostRecord,
}

impl GenerationObserver for Keeper<'_> {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let prompt = &self.requests[request].prompt.id;
        let record = RolloutRecord { prompt: prompt.clone(), rollout: rollout.clone() };
        self.writer.append(&rollout_key(prompt, rollout.index), &record)?;
        self.cost.num_records += 1;
        self.progress.record_added();
        Ok(())
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.cost.num_prompt_tokens += usage.num_prompt_tokens;
        self.cost.num_generated_tokens += usage.num_generated_tokens;
        self.progress.tokens(usage);
    }
}

/// Grades every rollout of a demand, once for each grader that a cell uses on it.
fn fill_rollout_grades(demand: &RolloutDemand, plan: &Plan, store: &Store) -> Result<(), Error> {
    let rollouts = load_rollouts(&store.stage(&demand.cell.stages.rollouts))?;
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for cell in plan.cells() {
        let spec = &cell.stages.rollout_grades;
        let other_stage = cell.stages.rollouts != demand.cell.stages.rollouts;
        if other_stage || !done.insert(spec.digest().as_str()) {
            continue;
        }
        let mut items = Vec::new();
        for task in &demand.cell.tasks.tasks {
            let drawn = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
            items.extend(drawn.iter().map(|rollout| (task, rollout)));
        }
        let key = |(task, rollout): &(&Task, &Rollout)| rollout_key(&task.prompt.id, rollout.index);
        fill(store, spec, &items, key, |missing| {
            Ok(missing.iter().map(|(task, o)| graded(cell, task, Some(&o.text))).collect())
        })?;
    }
    Ok(())
}

/// Fills the stages that belong to one cell.
fn fill_cell(
    cell: &Cell,
    rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
    store: &Store,
) -> Result<(), Error> {
    let groups: Vec<Group> = cell
        .tasks
        .tasks
        .iter()
        .map(|task| {
            let drawn = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
            let group = drawn.iter().take_while(|rollout| rollout.index < cell.group_size);
            Group { prompt: task.prompt.clone(), rollouts: group.cloned().collect() }
        })
        .collect();
    let group_key = |group: &Group| group.prompt.id.as_str().to_owned();

    fill(store, &cell.stages.answer_classes, &groups, group_key, |missing| {
        Ok(missing.iter().map(|group| answer_classes(group)).collect())
    })?;

    fill(store, &cell.stages.aggregates, &groups, group_key, |missing| {
        let context = AggregatorContext { tasks: &cell.tasks, grader: cell.grader };
        let aggregator = cell.aggregator.build(&context);
        // The aggregator's name keeps the draws of two aggregators apart.
        let stage = format!("aggregate/{}", cell.aggregator.entry().name);
        let request = |group: &&'_ Group| prompt_seed(cell.seed, &stage, &group.prompt.id);
        let requests: Vec<_> = missing
            .iter()
            .map(|&group| AggregateRequest { group, seed: request(&group) })
            .collect();
        let aggregates = aggregator.aggregate(&requests)?;
        let record = |(group, aggregate): (&&Group, _)| AggregateRecord {
            prompt: group.prompt.id.clone(),
            aggregate,
        };
        Ok(missing.iter().zip(aggregates).map(record).collect())
    })?;

    let aggregates = store.stage(&cell.stages.aggregates).load::<AggregateRecord>()?.records;
    fill(store, &cell.stages.grades, &cell.tasks.tasks, prompt_key, |missing| {
        let record = |task: &&Task| {
            let aggregate = aggregates.get(task.prompt.id.as_str());
            let text = aggregate.and_then(|record| match &record.aggregate.outcome {
                AggregateOutcome::Estimated(reference) => Some(reference.text.as_str()),
                AggregateOutcome::Abstained(_) => None,
            });
            graded(cell, task, text)
        };
        Ok(missing.iter().map(record).collect())
    })
}

/// The grade of a text, or of an abstention, which is an answer that is wrong.
fn graded(cell: &Cell, task: &Task, text: Option<&str>) -> GradeRecord {
    let prompt = task.prompt.id.clone();
    let label = task.label.answer().to_owned();
    let graded = grade(cell.grader, &task.label, text.unwrap_or(""));
    let (extraction, reason) = match text {
        Some(_) => (graded.extraction, graded.reason),
        None => ("abstained".to_owned(), "there is no pseudo-reference".to_owned()),
    };
    GradeRecord { prompt, score: graded.score, answer: graded.answer, extraction, reason, label }
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

/// Makes and appends the records of `items` whose keys are missing from the stage.
fn fill<'a, I, R: Serialize>(
    store: &Store,
    spec: &StageSpec,
    items: &'a [I],
    key: impl Fn(&I) -> String,
    make: impl FnOnce(&[&'a I]) -> Result<Vec<R>, Error>,
) -> Result<(), Error> {
    let stage = store.stage(spec);
    let present = stage.keys()?;
    let missing: Vec<&I> = items.iter().filter(|item| !present.contains(&key(item))).collect();
    if missing.is_empty() {
        return Ok(stage.compact()?);
    }
    let records = make(&missing)?;
    assert_eq!(records.len(), missing.len(), "one record for each item");
    let mut writer = stage.writer();
    for (item, record) in missing.iter().zip(&records) {
        writer.append(&key(item), record)?;
    }
    writer.sync()?;
    drop(writer);
    stage.compact()?;
    Ok(())
}
