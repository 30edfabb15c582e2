//! The loop: from the initial policy, or the last checkpoint, to the last step.
//!
//! A step is a function of the weights before it, of the settings and of named random streams, so a run
//! that resumes from a checkpoint repeats the lost steps bit-for-bit. Records of steps that exist
//! stay as they are.
//!
//! A failed call must not lead to another policy. A step whose rewards or pseudo-references lack an
//! answer, and a decision whose grades are missing, halt the training run: its weights are kept, and
//! the next run asks for what is missing and resumes there. Missing grades of evaluations are asked for
//! from the stored rollouts, without the policy.

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::rc::Rc;

use preceptor_core::record::{TrainStepRecord, step_key};
use preceptor_core::{Seed, StepMeasure};
use preceptor_models::{LocalModel, Model, Trainable, available_memory};
use preceptor_trainer::{
    Checkpoint, Checkpoints, Learner, MemoryEstimate, OptimizerConfig, Schedule,
};
use serde_json::json;

use super::events;
use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::plan::cell::Cell;
use crate::plan::cell::Training;
use crate::plan::course::{Course, Decision};
use crate::run::session::Session;
use crate::training::phases::Phases;
use crate::training::records::StepRecords;
use crate::training::served::ServedSampler;
use crate::training::step::{Outcome, Step, StepEnd};

/// A cell whose policy is trained.
pub(crate) struct TrainRun<'c, 'a> {
    pub(crate) cell: &'c Cell,
    pub(crate) training: &'c Training,
    pub(crate) session: &'c Session<'a>,
}

/// End of a training run.
pub(crate) enum TrainingEnd {
    /// The resulting policy and its step.
    Policy(Rc<LocalModel>, u64),
    /// The run waits for calls that failed, for this reason.
    Halted(String),
}

impl<'c> TrainRun<'c, '_> {
    pub(crate) fn course(&self) -> Course<'c> {
        Course { training: self.training, store: self.session.store }
    }

    /// Makes the steps that are missing.
    pub(crate) fn run(&self) -> Result<TrainingEnd, Error> {
        self.evaluate_checkpoints()?;
        let decision = self.course().decide()?;
        if let Some(reason) = self.halted_at(decision)? {
            return Ok(TrainingEnd::Halted(reason));
        }
        let from = self.needed_from(decision)?;
        if let (None, Decision::Made { best, .. }) = (from, decision) {
            return Ok(TrainingEnd::Policy(self.policy_after(best)?, best));
        }
        let last = self.last_step(decision);
        match self.train(from.unwrap_or(last), last)? {
            Some(reason) => Ok(TrainingEnd::Halted(reason)),
            None => match self.course().decide()? {
                Decision::Made { best, .. } => {
                    Ok(TrainingEnd::Policy(self.policy_after(best)?, best))
                }
                Decision::Open { at, .. } => Ok(TrainingEnd::Halted(open(at))),
            },
        }
    }

    /// Returns the last step, as far as it is decided.
    fn last_step(&self, decision: Decision) -> u64 {
        match decision {
            Decision::Made { last, .. } => last,
            Decision::Open { .. } => u64::from(self.training.settings.steps),
        }
    }

    /// Explains a decision that stays open although its rollouts are stored.
    fn halted_at(&self, decision: Decision) -> Result<Option<String>, Error> {
        let Decision::Open { at, .. } = decision else { return Ok(None) };
        let missing = self.course().steps_to_evaluate(at)?;
        Ok((!missing.contains(&at)).then(|| open(at)))
    }

    /// Returns the first step whose weights are still needed, or the step before it; none if nothing is
    /// missing.
    fn needed_from(&self, decision: Decision) -> Result<Option<u64>, Error> {
        let course = self.course();
        let last = self.last_step(decision);
        let recorded = course.recorded_steps()?;
        let unrecorded = (1..=last).find(|step| !recorded.contains(&step_key(*step)));
        let unevaluated = course.steps_to_evaluate(last)?.first().copied();
        let known = self.checkpoints().steps()?;
        let result = match decision {
            Decision::Made { best, .. } => Some(best).filter(|b| *b > 0 && !known.contains(b)),
            Decision::Open { .. } => None,
        };
        Ok([unrecorded.map(|step| step - 1), unevaluated, result].into_iter().flatten().min())
    }

    /// Evaluates policies that are stored as checkpoints and were not evaluated, without training
    /// anything again.
    fn evaluate_checkpoints(&self) -> Result<(), Error> {
        let course = self.course();
        let mut missing = course.steps_to_evaluate(self.last_step(course.decide()?))?;
        let known = self.checkpoints().steps()?;
        missing.retain(|step| known.contains(step));
        for step in missing {
            let policy = self.policy_after(step)?;
            if let Err(reason) = self.evaluate_with_targets(step, &policy)? {
                self.session.notice(&reason);
            }
        }
        Ok(())
    }

    fn evaluate_with_targets(
        &self,
        step: u64,
        policy: &Rc<LocalModel>,
    ) -> Result<Result<(), String>, Error> {
        let targets = match self.validation_targets(policy)? {
            Ok(targets) => targets,
            Err(reason) => return Ok(Err(reason)),
        };
        self.measure_loss(step, policy, &targets)?;
        self.evaluate(step, policy)?;
        Ok(Ok(()))
    }

    /// Trains from a checkpoint at or before `from` to `last` or an earlier end. Returns why it halted, if
    /// it did.
    fn train(&self, from: u64, last: u64) -> Result<Option<String>, Error> {
        let Self { training, session, .. } = self;
        let settings = &training.settings;
        let checkpoints = self.checkpoints();
        let model = session.load(&self.cell.model_name)?;
        let mut trainable = fresh(&model, training, self.cell.seed)?;
        self.check_memory(&trainable, &model)?;
        let mut policy = LocalModel::new(model, self.session.options.generation);
        // After the last step no update follows, so the weights are enough.
        let start = if from == last && checkpoints.steps()?.contains(&from) {
            from
        } else {
            let resumable = checkpoints.resumable_steps()?;
            resumable.into_iter().rfind(|step| *step <= from).unwrap_or(0)
        };
        let optimizer = match start {
            0 => None,
            step => self.read_checkpoint(step, &mut trainable)?.optimizer,
        };
        let num_updates = u64::from(settings.steps) * u64::from(settings.updates_per_step());
        let schedule = Schedule::new(&settings.schedule, num_updates);
        let rows = settings.tokens_per_pass as usize;
        let adamw = OptimizerConfig::AdamW(settings.optimizer.clone());
        let learner = match optimizer {
            None => Learner::new(trainable, &adamw, schedule, rows),
            Some(state) => Learner::restore(trainable, &adamw, state, schedule, rows)?,
        };
        let mut learner = learner
            .with_layer_states(settings.layer_states())
            .with_temperature(training.temperature);
        if start > 0 {
            self.take_weights(&mut policy, learner.trainable(), start);
        }
        let mut policy = Rc::new(policy);
        let halted = self.steps(start, last, &mut policy, &mut learner)?;
        for spec in [&training.steps, &training.groups, &training.costs] {
            self.session.store.stage(spec).compact()?;
        }
        self.write_events()?;
        self.session.confirm_claims()?;
        if halted.is_none() && !settings.keep_optimizer {
            for step in checkpoints.resumable_steps()? {
                checkpoints.forget_optimizer(step)?;
            }
        }
        Ok(halted)
    }

    /// Makes the steps after `start`, with the evaluations between them.
    fn steps(
        &self,
        start: u64,
        mut last: u64,
        policy: &mut Rc<LocalModel>,
        learner: &mut Learner,
    ) -> Result<Option<String>, Error> {
        let Self { cell, training, session } = *self;
        let settings = &training.settings;
        let checkpoints = self.checkpoints();
        let keep = |step: u64, best: Option<u64>, learner: &Learner| {
            self.write_checkpoint(&checkpoints, step, best, learner)
        };
        let keep_new = |step: u64, best: Option<u64>, learner: &Learner| {
            if step > start { keep(step, best, learner) } else { Ok(()) }
        };
        let targets = match self.targets(policy)? {
            Ok(targets) => targets,
            Err(reason) => return Ok(Some(reason)),
        };
        let digest = training.steps.digest();
        let servers = training.rollouts.as_ref();
        let mut servers =
            servers.map(|config| ServedSampler::connect(config, digest.as_str())).transpose()?;
        let evaluated = training.evaluated_steps();
        let mut records = StepRecords::open(session.store, training)?;
        let (mut step, mut best) = (start, self.course().decide()?.best());
        // Time between two steps belongs to the second.
        let mut phases = Phases::start();
        loop {
            if evaluated.contains(&step) {
                let evaluated = phases.time("evaluate", || self.evaluate_and_decide(step, policy));
                if matches!(evaluated, Err(Error::Stopped)) {
                    keep_new(step, best, learner)?;
                }
                let (decision, reason) = evaluated?;
                best = decision.best();
                if let Decision::Made { last: decided, .. } = decision {
                    last = decided;
                }
                if reason.is_some() {
                    keep_new(step, best, learner)?;
                    return Ok(reason);
                }
                if settings.early_stopping.is_some() && best == Some(step) {
                    keep(step, best, learner)?;
                }
            }
            if step >= last {
                return Ok(None);
            }
            if session.options.stop.is_made() {
                keep_new(step, best, learner)?;
                return Err(Error::Stopped);
            }
            let this = Step { cell: training.untrained(), training, session, number: step + 1 };
            let done = session.without_progress(|| match &training.objective {
                ObjectiveSettings::Grpo(config) => {
                    this.grpo(config, policy, learner, servers.as_mut())
                }
                ObjectiveSettings::Sft(_) => this.sft(&targets, policy, learner).map(StepEnd::Step),
            });
            let down = servers.as_ref().map_or(Vec::new(), ServedSampler::down);
            if !down.is_empty() {
                let (label, down) = (cell.label(), down.join(", "));
                session.notice(&format!("{label}: rollout servers without an answer: {down}"));
            }
            if !matches!(done, Ok(StepEnd::Step(_))) {
                // The weights are those of the last step, which is complete.
                keep_new(step, best, learner)?;
            }
            let mut outcome = match done? {
                StepEnd::Step(outcome) => outcome,
                StepEnd::Halted(reason) => return Ok(Some(reason)),
            };
            step += 1;
            phases.time("weights", || {
                let policy = Rc::get_mut(policy).expect("nothing holds it between steps");
                self.take_weights(policy, learner.trainable(), step);
            });
            let (between, _) = mem::replace(&mut phases, Phases::start()).into_records();
            outcome.cost.seconds.extend(between);
            // Before the checkpoint: a run that resumes from there does not do the step again.
            records.keep(session, &cell.label(), &outcome, step)?;
            let every = u64::from(settings.checkpoint_every);
            if step.is_multiple_of(every) || step == last {
                phases.time("checkpoint", || keep(step, best, learner))?;
            }
            session.count(|summary| {
                summary.usage += outcome.cost.usage;
                summary.num_steps += 1;
            });
            session.use_tokens(outcome.cost.usage);
            session.report(|progress| {
                let text = summary_line(&outcome);
                progress.step_ended(&cell.label(), step, u64::from(settings.steps), &text);
            });
        }
    }

    /// Evaluates the policy after `step`. Returns the decision that follows, and why the run halts if it
    /// must.
    fn evaluate_and_decide(
        &self,
        step: u64,
        policy: &Rc<LocalModel>,
    ) -> Result<(Decision, Option<String>), Error> {
        let evaluated = self.evaluate_with_targets(step, policy)?;
        let decision = self.course().decide()?;
        let open_at = match decision {
            Decision::Open { at, .. } if at <= step => Some(open(at)),
            Decision::Open { .. } | Decision::Made { .. } => None,
        };
        Ok((decision, evaluated.err().or(open_at)))
    }

    /// Returns the policy after `step`, from the initial model or a checkpoint.
    fn policy_after(&self, step: u64) -> Result<Rc<LocalModel>, Error> {
        let model = self.session.load(&self.cell.model_name)?;
        if step == 0 {
            return Ok(Rc::new(LocalModel::new(model, self.session.options.generation)));
        }
        let mut trainable = fresh(&model, self.training, self.cell.seed)?;
        self.read_checkpoint(step, &mut trainable)?;
        let mut policy = LocalModel::new(model, self.session.options.generation);
        self.take_weights(&mut policy, &trainable, step);
        Ok(Rc::new(policy))
    }

    /// Refuses a training run that does not fit into memory.
    fn check_memory(&self, trainable: &Trainable, model: &Model) -> Result<(), Error> {
        let Self { cell, training, session } = self;
        let options = session.options;
        if options.ignores_memory {
            return Ok(());
        }
        let settings = &training.settings;
        let rows = settings.tokens_per_pass as usize;
        let states = settings.layer_states();
        let estimate = MemoryEstimate::for_trainable(trainable, model.spec(), rows, states);
        let num_policies = if needs_another_policy(cell, training) { 2 } else { 1 };
        let device = options.device_bytes.or_else(|| trainable.device().free_memory());
        let estimate = estimate.and_weights("policies that are asked", num_policies);
        Ok(estimate.check(available_memory(), device)?)
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

    /// Returns the folder of checkpoints and metrics of this training run.
    fn folder(&self) -> PathBuf {
        self.session.store.root().join("training").join(self.training.steps.digest().as_str())
    }

    fn checkpoints(&self) -> Checkpoints {
        let keep = self.training.settings.keep_checkpoints as usize;
        Checkpoints::new(self.folder().join("checkpoints"), keep)
    }

    fn write_checkpoint(
        &self,
        checkpoints: &Checkpoints,
        step: u64,
        best: Option<u64>,
        learner: &Learner,
    ) -> Result<(), Error> {
        self.session.confirm_claims()?;
        let state = json!({ "training": self.training.steps.digest() });
        let base = &self.training.initial.weights;
        checkpoints.write(step, base, learner.trainable(), learner.optimizer_state(), state)?;
        self.write_events()?;
        let protected = best.filter(|_| self.training.settings.early_stopping.is_some());
        Ok(checkpoints.prune(protected)?)
    }

    /// Writes the records of all steps and evaluations as a TensorBoard event file.
    fn write_events(&self) -> Result<(), Error> {
        let course = self.course();
        let steps =
            self.session.store.stage(&self.training.steps).load::<TrainStepRecord>()?.records;
        let mut scalars: events::Scalars = BTreeMap::new();
        for record in steps.into_values() {
            let named = record.measures.into_iter();
            let named = named.map(|(measure, value)| (format!("train/{}", measure.name()), value));
            scalars.entry(record.step).or_default().extend(named);
        }
        for evaluation in &self.training.evaluations {
            let scores = course.scores(evaluation)?.unwrap_or_default();
            if !scores.is_empty() {
                let tag = format!("score/{}", evaluation.split.name());
                let score = scores.iter().sum::<f64>() / scores.len() as f64;
                scalars.entry(evaluation.step).or_default().insert(tag, score);
            }
        }
        for record in course.losses()?.into_values() {
            let of_step = scalars.entry(record.step).or_default();
            of_step.insert("loss/validation".to_owned(), record.loss);
        }
        let times = events::step_times(&self.session.store.stage(&self.training.costs))?;
        let name = format!("{} {}", self.cell.benchmark, self.cell.label());
        let folder = events::folder(self.session.store, &name, self.training.steps.digest());
        events::write(&folder, &scalars, &times)
            .map_err(|source| Error::Events { path: folder.display().to_string(), source })
    }
}

/// Explains an open decision.
fn open(at: u64) -> String {
    format!("validation grades after step {at} are missing, so early stopping can't decide")
}

/// Returns the trained parameters of `model` before the first step.
pub(crate) fn fresh(model: &Model, training: &Training, seed: u64) -> Result<Trainable, Error> {
    Ok(match &training.settings.lora {
        None => Trainable::full(model),
        Some(lora) => Trainable::lora(model, lora, Seed::root(seed).derive("train/lora"))?,
    })
}

/// Returns true if the initial policy is asked beside the current one.
fn needs_another_policy(cell: &Cell, training: &Training) -> bool {
    let is_kl_reference = match &training.objective {
        ObjectiveSettings::Grpo(config) => config.needs_reference(),
        ObjectiveSettings::Sft(_) => false,
    };
    is_kl_reference || cell.needs().anchor
}

/// Formats the measures of a step that people look at first.
fn summary_line(outcome: &Outcome) -> String {
    let shown = [
        StepMeasure::Loss,
        StepMeasure::RewardMean,
        StepMeasure::ScoreMean,
        StepMeasure::ReferenceScore,
        StepMeasure::Kl,
        StepMeasure::Entropy,
    ];
    let number = |measure: &StepMeasure| {
        let value = outcome.measures.0.get(measure)?;
        Some(format!("{} {value:.4}", measure.name().replace("-mean", "")))
    };
    let mut parts: Vec<String> = shown.iter().filter_map(number).collect();
    let total: f64 = outcome.cost.seconds.values().sum();
    let phases = outcome.cost.seconds.iter().filter(|(_, secs)| **secs >= 0.05 * total);
    let phases: Vec<_> = phases.map(|(phase, secs)| format!("{phase} {secs:.1}")).collect();
    parts.push(format!("{total:.1} s ({})", phases.join(", ")));
    parts.join(" · ")
}
