//! Filling the stages of a plan.
//!
//! Stages are filled in the order of their arrows: rollouts, then what is computed from them. Only
//! records that are missing are made, so that running again resumes, and a plan whose stages are
//! full does nothing. Models are opened when the first call is missing, one at a time. What fails is
//! noted and counted; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::time::Instant;

use preceptor_answers::{classify, extract_boxed};
use preceptor_benchmarks::Task;
use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CostRecord, PromptRecord, RewardRecord, RolloutRecord,
    rollout_key,
};
use preceptor_core::{
    AggregateOutcome, AggregateRequest, CallFailure, GenerationObserver, GenerationRequest,
    Generator, Group, Judge, PromptId, PseudoReference, RewardDeriver, RewardRequest, Rollout,
    RolloutSeed, Seed, Usage,
};
use preceptor_rewards::{Term, WeightedSum};
use preceptor_store::{Stage, Store, Writer};

use crate::Error;
use crate::catalog::{Anchor, Context};
use crate::fill::{Filled, Made, fill};
use crate::grading::grade_texts;
use crate::model_host::ModelHost;
use crate::plan::{Cell, Plan, RolloutDemand};
use crate::progress::{Progress, Unit};
use crate::recorded_model::{RecordedModel, RoleCost, Switchboard};

/// Settings of a run that don't reach its results.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Stop instead of drawing rollouts that are missing.
    pub only_stored_rollouts: bool,
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
    pub roles: BTreeMap<&'static str, RoleCost>,
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
    check_endpoints(plan, store, models, options)?;
    let board = Switchboard::new(models, store, progress);
    let demands = plan.rollout_demands();
    for demand in &demands {
        fill_prompts(&demand.cell, store)?;
        fill_rollouts(demand, store, &board, options, &mut summary)?;
    }
    for demand in &demands {
        let rollouts = load_rollouts(&store.stage(&demand.cell.stages.rollouts))?;
        fill_rollout_grades(demand, plan, store, &board, &rollouts, &mut summary)?;
        let same_stage = |cell: &&Cell| cell.stages.rollouts == demand.cell.stages.rollouts;
        for cell in plan.cells().iter().filter(same_stage) {
            CellRun { cell, store, board: &board }.fill(&rollouts, &mut summary)?;
        }
    }
    summary.roles = board.costs.take();
    Ok(summary)
}

impl RunSummary {
    fn note(&mut self, filled: Filled) {
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

fn prompt_key(task: &Task) -> String {
    task.prompt.id.as_str().to_owned()
}

fn fill_rollouts(
    demand: &RolloutDemand,
    store: &Store,
    board: &Switchboard<'_>,
    options: RunOptions,
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
    if num_missing > 0 && options.only_stored_rollouts {
        let label = demand.label();
        return Err(Error::NoRollouts { label, num_missing: num_missing as u64 });
    }
    let label = demand.label();
    board.progress.borrow_mut().stage_started(&label, Unit::Rollouts, num_present, num_wanted);
    if !requests.is_empty() {
        let model = board.open(&cell.model_name)?;
        let money_before = board.money(&cell.model_name);
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
        if cost.num_records > 0 {
            stage.add_cost(&CostRecord {
                wall_secs: started.elapsed().as_secs_f64(),
                money: board.money(&cell.model_name) - money_before,
                ..cost.clone()
            })?;
        }
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
        summary.usage += Usage {
            num_prompt_tokens: cost.num_prompt_tokens,
            num_generated_tokens: cost.num_generated_tokens,
        };
        generated?;
    }
    // Also when nothing was missing: a killed run may have left parts.
    stage.compact()?;
    board.progress.borrow_mut().stage_finished();
    Ok(())
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
        self.board.progress.borrow_mut().record_added();
        Ok(())
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        let key = rollout_key(&self.requests[request].prompt.id, index);
        self.failures.insert(key, failure.to_string());
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.cost.num_prompt_tokens += usage.num_prompt_tokens;
        self.cost.num_generated_tokens += usage.num_generated_tokens;
        self.board.progress.borrow_mut().tokens(usage);
    }
}

/// The benchmark's judge of a cell, where its grader asks one.
fn eval_judge<'b, 'a>(cell: &Cell, board: &'b Switchboard<'a>) -> Option<RecordedModel<'b, 'a>> {
    cell.eval_judge.as_ref().map(|judge| RecordedModel {
        board,
        role: "eval-judge",
        name: judge.settings.model.clone(),
        identity: judge.identity.clone(),
    })
}

/// Grades every rollout of a demand, once for each grader that a cell uses on it.
fn fill_rollout_grades(
    demand: &RolloutDemand,
    plan: &Plan,
    store: &Store,
    board: &Switchboard<'_>,
    rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
    summary: &mut RunSummary,
) -> Result<(), Error> {
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
        let judge = eval_judge(cell, board);
        let judge = judge.as_ref().map(|judge| judge as &dyn Generator);
        let filled = fill(store, spec, &items, key, |missing| {
            let texts: Vec<_> =
                missing.iter().map(|(task, o)| (*task, Some(o.text.as_str()))).collect();
            grade_texts(cell, judge, &texts)
        })?;
        summary.note(filled);
    }
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
struct CellRun<'c, 'a> {
    cell: &'c Cell,
    store: &'c Store,
    board: &'c Switchboard<'a>,
}

impl CellRun<'_, '_> {
    fn fill(
        &self,
        rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
        summary: &mut RunSummary,
    ) -> Result<(), Error> {
        let Self { cell, store, .. } = self;
        let groups: Vec<MaybeGroup> = cell
            .tasks
            .tasks
            .iter()
            .map(|task| {
                let drawn = rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
                let group = drawn.iter().take_while(|rollout| rollout.index < cell.group_size);
                let rollouts: Vec<_> = group.cloned().collect();
                if rollouts.len() == cell.group_size as usize {
                    Ok(Group { prompt: task.prompt.clone(), rollouts })
                } else {
                    let (got, wanted) = (rollouts.len(), cell.group_size);
                    let reason = format!("the group has {got} of {wanted} rollouts");
                    Err((task.prompt.id.clone(), reason))
                }
            })
            .collect();

        summary.note(fill(store, &cell.stages.answer_classes, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| {
                Ok(groups.iter().map(|group| Made::Record(answer_classes(group))).collect())
            })
        })?);
        summary.note(fill(store, &cell.stages.aggregates, &groups, group_key, |missing| {
            of_whole_groups(missing, |groups| self.aggregates(groups))
        })?);
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

    /// Builds what is asked and hands it on.
    fn with_context<T>(
        &self,
        use_it: impl FnOnce(&Context<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { cell, board, .. } = *self;
        let policy = RecordedModel {
            board,
            role: "policy",
            name: cell.model_name.clone(),
            identity: cell.model.clone(),
        };
        let anchor = RecordedModel {
            board,
            role: "anchor",
            name: cell.anchor.name.clone(),
            identity: cell.anchor.identity.clone(),
        };
        let judge_model = cell.judge.as_ref().map(|judge| RecordedModel {
            board,
            role: "judge",
            name: judge.name.clone(),
            identity: judge.identity.clone(),
        });
        let judge = match (&cell.judge, &judge_model) {
            (Some(judge), Some(model)) => Some(judge.settings.build(model)?),
            _ => None,
        };
        use_it(&Context {
            tasks: &cell.tasks,
            grader: cell.grader,
            policy: &policy,
            anchor: Anchor { model: &anchor, sampling: &cell.anchor.sampling },
            judge: judge.as_deref().map(|judge| judge as &dyn Judge),
        })
    }

    fn aggregates(&self, groups: &[&Group]) -> Result<Vec<Made<AggregateRecord>>, Error> {
        let cell = self.cell;
        // The aggregator's name keeps the draws of two aggregators apart.
        let stage = format!("aggregate/{}", cell.aggregator.entry().name);
        let requests: Vec<_> = groups
            .iter()
            .map(|&group| AggregateRequest {
                group,
                seed: prompt_seed(cell.seed, &stage, &group.prompt.id),
            })
            .collect();
        let aggregates = self
            .with_context(|context| Ok(cell.aggregator.build(context)?.aggregate(&requests)?))?;
        let made =
            |(group, aggregate): (&&Group, preceptor_core::Aggregate)| match &aggregate.outcome {
                AggregateOutcome::Abstained(reason) if reason.is_transient() => {
                    Made::Failed(reason.name().to_owned())
                }
                _ => Made::Record(AggregateRecord { prompt: group.prompt.id.clone(), aggregate }),
            };
        Ok(groups.iter().zip(aggregates).map(made).collect())
    }

    fn rewards<'r>(
        &self,
        groups: &[&Group],
        reference: &dyn Fn(&PromptId) -> Option<&'r PseudoReference>,
    ) -> Result<Vec<Made<RewardRecord>>, Error> {
        let cell = self.cell;
        let requests: Vec<_> = groups
            .iter()
            .map(|&group| RewardRequest {
                group,
                reference: reference(&group.prompt.id),
                seed: prompt_seed(cell.seed, "reward", &group.prompt.id),
            })
            .collect();
        let rewards = self.with_context(|context| {
            let mut terms = Vec::new();
            for term in &cell.reward {
                let name = term.settings.entry().name;
                let deriver = term.settings.build(context)?;
                terms.push(Term { name: name.to_owned(), weight: term.weight, deriver });
            }
            Ok(WeightedSum::new(terms).derive(&requests)?)
        })?;
        let made = |(group, derived): (&&Group, preceptor_core::GroupReward)| {
            if derived.is_transient() {
                return Made::Failed("a call for a reward did not succeed".to_owned());
            }
            Made::Record(RewardRecord { prompt: group.prompt.id.clone(), group: derived })
        };
        Ok(groups.iter().zip(rewards).map(made).collect())
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
