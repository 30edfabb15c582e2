//! The loop: from the initial policy, or the last checkpoint, to the last step.
//!
//! A step is a function of the weights before it, of the settings and of named random streams, so a run
//! that goes on from a checkpoint repeats what was lost to the bit. Records of steps that are there
//! already stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use preceptor_core::record::{
    AggregateRecord, GradeRecord, TrainStepRecord, rollout_key, step_group_key, step_key,
};
use preceptor_core::{AggregateOutcome, PromptId, Seed};
use preceptor_models::{GenerationOptions, LocalModel, Model, Trainable};
use preceptor_store::{Stage, Store, Writer};
use preceptor_trainer::{
    Checkpoint, Checkpoints, Learner, MemoryEstimate, Schedule, available_memory,
};
use serde_json::json;

use super::evaluation::{Evaluation, Split};
use super::events;
use super::settings::Training;
use super::step::{Outcome, Phases, Step, target};
use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::drawing::{fill_prompts, fill_rollouts, load_rollouts};
use crate::plan::{Cell, RolloutDemand};
use crate::recorded_model::Switchboard;
use crate::run::{CellRun, RunOptions, RunSummary, grade_rollouts};

/// A cell whose policy is trained.
pub(crate) struct TrainRun<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) training: &'c Training,
    pub(crate) store: &'c Store,
    pub(crate) board: &'c Switchboard<'a>,
    pub(crate) options: RunOptions,
}

/// What the evaluations so far say about going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    /// The step after which there is nothing to do.
    last: u64,
    /// The step whose weights are the result, as far as is known.
    best: u64,
    /// The first step whose evaluation is missing, at or before `last`.
    missing: Option<u64>,
}

impl TrainRun<'_, '_> {
    /// Whether every step and evaluation is recorded.
    pub(crate) fn is_complete(&self) -> Result<bool, Error> {
        let verdict = self.verdict()?;
        let steps = self.store.stage(&self.training.steps).keys()?;
        let all_steps = (1..=verdict.last).all(|step| steps.contains(&step_key(step)));
        Ok(verdict.missing.is_none() && all_steps)
    }

    /// Trains as far as is missing and gives the policy that is the result.
    pub(crate) fn run(&self, summary: &mut RunSummary) -> Result<Rc<LocalModel>, Error> {
        let Self { cell, training, board, .. } = self;
        let settings = &training.settings;
        let model = board.load(&cell.model_name)?;
        let mut trainable = fresh(&model, training, cell.seed)?;
        let copy = 4 * model.num_parameters() * model.replicas().len() as u64;
        let policies = match needs_another_policy(cell, training) {
            true => 2 * copy,
            false => copy,
        };
        let rows = settings.tokens_a_pass as usize;
        let states = settings.layer_states();
        let estimate = MemoryEstimate::new(&trainable, model.spec(), rows, states);
        if let Some(available) = available_memory() {
            estimate.and("policies that are asked", policies).check(available)?;
        }
        let checkpoints = self.checkpoints();
        let verdict = self.verdict()?;
        let from = verdict.missing.unwrap_or(verdict.last);
        let recorded = self.store.stage(&training.steps).keys()?;
        let unrecorded = (1..=verdict.last).find(|step| !recorded.contains(&step_key(*step)));
        let from = unrecorded.map_or(from, |step| from.min(step - 1));
        let known = checkpoints.steps()?;
        let mut policy = LocalModel::new(model, GenerationOptions::default());
        let is_whole = verdict.missing.is_none() && unrecorded.is_none();
        if is_whole && known.contains(&verdict.best) {
            self.read_checkpoint(verdict.best, &mut trainable)?;
            self.take_weights(&mut policy, &trainable, verdict.best);
            return Ok(Rc::new(policy));
        }
        // After the last step nothing is updated: its weights are enough.
        let start = match from == verdict.last && known.contains(&from) {
            true => from,
            false => {
                let resumable = checkpoints.resumable_steps()?;
                resumable.into_iter().rfind(|step| *step <= from).unwrap_or(0)
            }
        };
        let num_updates = u64::from(settings.steps) * u64::from(settings.updates_a_step());
        let schedule = Schedule::new(&settings.schedule, num_updates);
        let remembered = match start {
            0 => None,
            step => self.read_checkpoint(step, &mut trainable)?.optimizer,
        };
        let learner = match remembered {
            None => Learner::new(trainable, &settings.optimizer, schedule, rows),
            Some(optimizer) => {
                Learner::restore(trainable, &settings.optimizer, optimizer, schedule, rows)?
            }
        };
        let mut learner = learner.with_layer_states(states);
        if start > 0 {
            self.take_weights(&mut policy, learner.trainable(), start);
        }
        let mut policy = Rc::new(policy);

        let targets = self.targets(&policy, summary)?;
        let mut records = Records::open(self)?;
        let mut step = start;
        // What happens between two steps belongs to the second.
        let mut phases = Phases::default();
        loop {
            phases.time("evaluate", || self.evaluate(step, &policy, summary))?;
            let verdict = self.verdict()?;
            if training.settings.early_stopping.is_some() && verdict.best == step {
                self.write_checkpoint(&checkpoints, step, verdict.best, &learner)?;
            }
            if step >= verdict.last {
                break;
            }
            let number = step + 1;
            let this = Step { cell, training, board, number };
            let done = board.quietly(|| match &training.objective {
                ObjectiveSettings::Grpo(config) => this.grpo(config, &policy, &mut learner),
                ObjectiveSettings::Sft(_) => this.sft(&targets, &policy, &mut learner),
            });
            let mut outcome = match done {
                Ok(outcome) => outcome,
                Err(error) => {
                    // The weights are those of the last step: what is good is kept.
                    if step > start {
                        self.write_checkpoint(&checkpoints, step, verdict.best, &learner)?;
                    }
                    return Err(error);
                }
            };
            step = number;
            phases.time("weights", || {
                let policy = Rc::get_mut(&mut policy).expect("nobody holds it between steps");
                self.take_weights(policy, learner.trainable(), step);
            });
            outcome.cost.seconds.extend(std::mem::take(&mut phases).into_seconds());
            // Before the checkpoint: a run that goes on from there does the step not again.
            records.keep(self, &outcome, step)?;
            let every = u64::from(settings.checkpoint_every);
            if step.is_multiple_of(every) || step == verdict.last {
                phases.time("checkpoint", || {
                    self.write_checkpoint(&checkpoints, step, verdict.best, &learner)
                })?;
            }
            summary.usage += outcome.cost.usage;
            summary.num_steps += 1;
            board.tell(|progress| {
                let text = in_short(&outcome);
                progress.step_ended(&cell.label(), step, u64::from(settings.steps), &text);
            });
        }
        drop(records);
        for spec in [&training.steps, &training.groups, &training.costs] {
            self.store.stage(spec).compact()?;
        }
        self.write_events()?;
        if !settings.keep_optimizer {
            for step in checkpoints.resumable_steps()? {
                checkpoints.forget_optimizer(step)?;
            }
        }

        let best = self.verdict()?.best;
        if best != step {
            let model = board.load(&cell.model_name)?;
            let mut trainable = fresh(&model, training, cell.seed)?;
            self.read_checkpoint(best, &mut trainable)?;
            let policy = Rc::get_mut(&mut policy).expect("nobody holds it between steps");
            policy.set_replicas(trainable.merged(), cell.model.weights.clone());
        }
        Ok(policy)
    }

    /// The step whose weights are the result; none while the training is not finished.
    pub(crate) fn result(&self) -> Result<Option<u64>, Error> {
        Ok(if self.is_complete()? { Some(self.verdict()?.best) } else { None })
    }

    /// Reads the checkpoint of a step into `trainable`.
    pub(crate) fn read_checkpoint(
        &self,
        step: u64,
        trainable: &mut Trainable,
    ) -> Result<Checkpoint, Error> {
        Ok(self.checkpoints().read(step, &self.training.initial.weights, trainable)?)
    }

    /// Gives `policy` the weights after `step`.
    fn take_weights(&self, policy: &mut LocalModel, trainable: &Trainable, step: u64) {
        policy.set_replicas(trainable.merged(), self.training.identity(step).weights);
    }

    /// Where checkpoints and metrics of this training lie.
    fn folder(&self) -> PathBuf {
        self.store.root().join("training").join(self.training.steps.digest().as_str())
    }

    fn checkpoints(&self) -> Checkpoints {
        let keep = self.training.settings.keep_checkpoints as usize;
        Checkpoints::new(self.folder().join("checkpoints"), keep)
    }

    fn write_checkpoint(
        &self,
        checkpoints: &Checkpoints,
        step: u64,
        best: u64,
        learner: &Learner,
    ) -> Result<(), Error> {
        let state = json!({ "training": self.training.steps.digest() });
        let base = &self.training.initial.weights;
        checkpoints.write(step, base, learner.trainable(), learner.optimizer_state(), state)?;
        let protected = self.training.settings.early_stopping.as_ref().map(|_| best);
        Ok(checkpoints.prune(protected)?)
    }

    /// The pseudo-references of the initial policy's groups, as tokens; none where rewards are used.
    fn targets(
        &self,
        policy: &Rc<LocalModel>,
        summary: &mut RunSummary,
    ) -> Result<BTreeMap<PromptId, Vec<u32>>, Error> {
        let Self { training, store, board, options, .. } = *self;
        let mut targets = BTreeMap::new();
        let ObjectiveSettings::Sft(_) = training.objective else { return Ok(targets) };
        let initial = training.untrained.as_ref().expect("made with the plan");
        let demand = RolloutDemand { cell: (**initial).clone(), group_size: initial.group_size };
        fill_prompts(initial, store)?;
        fill_rollouts(&demand, store, board, options, summary)?;
        let rollouts = load_rollouts(&store.stage(&initial.stages.rollouts))?;
        CellRun { cell: initial, store, board }.fill_aggregates(&rollouts, summary)?;
        let aggregates = store.stage(&initial.stages.aggregates).load::<AggregateRecord>()?.records;
        let context = policy.model().context_length();
        for task in &initial.tasks.tasks {
            let id = &task.prompt.id;
            let Some(record) = aggregates.get(id.as_str()) else { continue };
            let AggregateOutcome::Estimated(reference) = &record.aggregate.outcome else {
                continue;
            };
            let group = rollouts.get(id).map_or(&[][..], Vec::as_slice);
            let tokens = target(policy, group, reference, &initial.sampling.stop)?;
            let prompt = policy.model().prompt_tokens(&task.prompt)?.len();
            if !tokens.is_empty() && prompt + tokens.len() <= context {
                targets.insert(id.clone(), tokens);
            }
        }
        Ok(targets)
    }

    /// Draws and grades what is missing of the evaluations after `step`.
    fn evaluate(
        &self,
        step: u64,
        policy: &Rc<LocalModel>,
        summary: &mut RunSummary,
    ) -> Result<(), Error> {
        let Self { training, store, board, options, .. } = *self;
        for evaluation in training.evaluations.iter().filter(|known| known.step == step) {
            if self.is_evaluated(evaluation)? {
                continue;
            }
            let cell = &evaluation.demand.cell;
            board.lend(cell.policy_name.clone(), Rc::clone(policy) as _);
            let evaluated = board.quietly(|| {
                fill_prompts(cell, store)?;
                fill_rollouts(&evaluation.demand, store, board, options, summary)?;
                let rollouts = load_rollouts(&store.stage(&cell.stages.rollouts))?;
                grade_rollouts(cell, &cell.tasks.tasks, store, board, &rollouts, summary)
            });
            board.take_back(&cell.policy_name);
            evaluated?;
            let score = self.score(evaluation)?.unwrap_or(f64::NAN);
            let (label, split) = (self.cell.label(), evaluation.split.name());
            let text = format!("{label}: after {step} steps the score on {split} is {score:.3}");
            board.tell(|progress| progress.notice(&text));
        }
        Ok(())
    }

    fn is_evaluated(&self, evaluation: &Evaluation) -> Result<bool, Error> {
        let cell = &evaluation.demand.cell;
        let present = self.store.stage(&cell.stages.rollout_grades).keys()?;
        Ok(evaluation.demand.keys().is_subset(&present))
    }

    /// The mean score of an evaluation; none while it is not whole.
    fn score(&self, evaluation: &Evaluation) -> Result<Option<f64>, Error> {
        let RolloutDemand { cell, group_size } = &evaluation.demand;
        let grades = self.store.stage(&cell.stages.rollout_grades).load::<GradeRecord>()?.records;
        let mut scores = Vec::new();
        for task in &cell.tasks.tasks {
            for index in 0..*group_size {
                let Some(grade) = grades.get(&rollout_key(&task.prompt.id, index)) else {
                    return Ok(None);
                };
                scores.extend(grade.score.value());
            }
        }
        Ok(Some(scores.iter().sum::<f64>() / scores.len().max(1) as f64))
    }

    /// Goes through the evaluations in order: where to stop, what is best, what is missing.
    fn verdict(&self) -> Result<Verdict, Error> {
        let training = self.training;
        let last = u64::from(training.settings.steps);
        let mut verdict = Verdict { last, best: last, missing: None };
        let patience = training.settings.early_stopping.as_ref().map(|s| s.patience);
        let mut best: Option<(f64, u64)> = None;
        let mut num_worse = 0;
        for step in training.evaluated_steps() {
            let of_step = || training.evaluations.iter().filter(|known| known.step == step);
            for evaluation in of_step() {
                if !self.is_evaluated(evaluation)? {
                    verdict.missing = Some(step);
                }
            }
            if verdict.missing.is_some() {
                break;
            }
            let Some(patience) = patience else { continue };
            let Some(evaluation) = of_step().find(|known| known.split == Split::Validation) else {
                continue;
            };
            let score = self.score(evaluation)?.unwrap_or(f64::NEG_INFINITY);
            if best.is_none_or(|(known, _)| score > known) {
                (best, num_worse) = (Some((score, step)), 0);
            } else {
                num_worse += 1;
            }
            if num_worse >= patience {
                verdict.last = step;
                break;
            }
        }
        if let Some((_, step)) = best {
            verdict.best = step;
        }
        Ok(verdict)
    }

    /// Writes the records of all steps and evaluations as a TensorBoard event file.
    fn write_events(&self) -> Result<(), Error> {
        let steps = self.store.stage(&self.training.steps).load::<TrainStepRecord>()?.records;
        let mut scalars: events::Scalars = BTreeMap::new();
        for record in steps.into_values() {
            let named = record.measures.into_iter();
            let named = named.map(|(name, value)| (format!("train/{name}"), value));
            scalars.entry(record.step).or_default().extend(named);
        }
        for evaluation in &self.training.evaluations {
            if let Some(score) = self.score(evaluation)? {
                let tag = format!("score/{}", evaluation.split.name());
                scalars.entry(evaluation.step).or_default().insert(tag, score);
            }
        }
        let folder = self.folder().join("events");
        events::write(&folder, &scalars)
            .map_err(|source| Error::Events { path: folder.display().to_string(), source })
    }
}

/// The records of a training, appended step by step.
struct Records {
    steps: Kept,
    groups: Kept,
    costs: Kept,
}

/// A stage with the keys it has.
struct Kept {
    stage: Stage,
    writer: Writer,
    present: BTreeSet<String>,
}

impl Kept {
    fn open(stage: Stage) -> Result<Self, Error> {
        Ok(Self { writer: stage.writer(), present: stage.keys()?, stage })
    }

    fn append(&mut self, key: String, record: &impl serde::Serialize) -> Result<(), Error> {
        if !self.present.contains(&key) {
            self.writer.append(&key, record)?;
            self.present.insert(key);
        }
        Ok(())
    }
}

impl Records {
    fn open(run: &TrainRun<'_, '_>) -> Result<Self, Error> {
        let TrainRun { store, training, .. } = run;
        Ok(Self {
            steps: Kept::open(store.stage(&training.steps))?,
            groups: Kept::open(store.stage(&training.groups))?,
            costs: Kept::open(store.stage(&training.costs))?,
        })
    }

    /// Keeps a step. The record of the step comes last: where it is, the others are.
    fn keep(&mut self, run: &TrainRun<'_, '_>, outcome: &Outcome, step: u64) -> Result<(), Error> {
        let record = TrainStepRecord { step, measures: outcome.measures.clone() };
        if self.steps.present.contains(&step_key(step)) {
            let known = self.steps.stage.load::<TrainStepRecord>()?.records;
            if known.get(&step_key(step)) != Some(&record) {
                run.board.tell(|progress| {
                    progress.notice(&format!(
                        "{}: step {step} again gives other numbers than its record, which stays: it was made by another build, or on another processor",
                        run.cell.label()
                    ));
                });
            }
            return Ok(());
        }
        for group in &outcome.groups {
            self.groups.append(step_group_key(step, &group.prompt), group)?;
        }
        self.costs.append(step_key(step), &outcome.cost)?;
        self.groups.writer.sync()?;
        self.costs.writer.sync()?;
        self.steps.append(step_key(step), &record)?;
        Ok(self.steps.writer.sync()?)
    }
}

/// What is trained of `model`, before the first step.
pub(crate) fn fresh(model: &Model, training: &Training, seed: u64) -> Result<Trainable, Error> {
    Ok(match &training.settings.lora {
        None => Trainable::full(model),
        Some(lora) => Trainable::lora(model, lora, Seed::root(seed).derive("train/lora"))?,
    })
}

/// Whether the initial policy is asked beside the current one.
fn needs_another_policy(cell: &Cell, training: &Training) -> bool {
    let is_kl_reference = match &training.objective {
        ObjectiveSettings::Grpo(config) => config.needs_reference(),
        ObjectiveSettings::Sft(_) => false,
    };
    is_kl_reference || cell.needs().anchor
}

/// The numbers of a step that people look at first.
fn in_short(outcome: &Outcome) -> String {
    let shown = ["loss", "reward-mean", "score-mean", "reference-score", "kl", "entropy"];
    let number = |name: &&str| {
        outcome.measures.get(*name).map(|value| format!("{} {value:.4}", name.replace("-mean", "")))
    };
    let mut parts: Vec<String> = shown.iter().filter_map(number).collect();
    let total: f64 = outcome.cost.seconds.values().sum();
    let phases = outcome.cost.seconds.iter().filter(|(_, secs)| **secs >= 0.05 * total);
    let phases: Vec<_> = phases.map(|(phase, secs)| format!("{phase} {secs:.1}")).collect();
    parts.push(format!("{total:.1} s ({})", phases.join(", ")));
    parts.join(" · ")
}
