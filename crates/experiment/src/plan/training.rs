//! Training runs of a plan: their stages, their policies by step, their evaluations.

use std::rc::Rc;

use preceptor_benchmarks::TaskSet;
use preceptor_core::record::{RECORD_FORMAT, TrainingRecord};
use preceptor_core::{Digest, ModelIdentity, Sampling, Split};
use preceptor_endpoints::RolloutServersConfig;
use preceptor_endpoints::rollout_servers::ServerKind;
use preceptor_models::{LoraConfig, Trace};
use preceptor_store::{Error as StoreError, StageSpec};
use preceptor_trainer::objective::grpo::LogprobTemperature;
use preceptor_trainer::objective::sft;
use preceptor_trainer::{AdamWConfig, ScheduleConfig, warnings};
use serde::Serialize;

use crate::catalog::ObjectiveSettings;
use crate::manifest::train_settings::{EarlyStopping, OldLogprobs, Train, Truncated};
use crate::plan::cell::{Cell, Evaluation, Training, ValidationLosses};
use crate::plan::stages::{RewardTerm, StageInputs, TrainingData, needs_of};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct LossesSpec<'a> {
    format: u32,
    steps: &'a Digest,
    aggregates: &'a Digest,
    prompts: Digest,
    aggregation: sft::Aggregation,
}

/// The inputs of the choice of a step: every metric that it may look at.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ChoiceSpec<'a> {
    format: u32,
    steps: &'a Digest,
    rule: &'a EarlyStopping,
    last_step: u64,
    num_rollouts: u32,
    prompts: Digest,
    metrics: Vec<(u64, &'a Digest)>,
}

/// Returns a digest of the ids of `tasks`, in their order.
fn prompts_of(tasks: &TaskSet) -> Digest {
    Digest::of_parts(tasks.tasks.iter().map(|task| task.prompt.id.as_str().as_bytes()))
}

/// Version of the order of prompts in `training::order`.
const ORDER_VERSION: u32 = 2;

/// Returns true if sampling removes tokens of small probability from the distribution.
fn cuts(sampling: &Sampling) -> bool {
    sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0
}

/// Returns the temperature of the log-probabilities of the policy gradient.
fn logprob_temperature(objective: &ObjectiveSettings, sampling: &Sampling) -> f64 {
    match objective {
        ObjectiveSettings::Grpo(config) if config.temperature == LogprobTemperature::Sampling => {
            sampling.temperature
        }
        _ => 1.0,
    }
}

fn trace(objective: &ObjectiveSettings, sampling: &Sampling) -> Option<Trace> {
    let ObjectiveSettings::Grpo(config) = objective else { return None };
    let temperature = logprob_temperature(objective, sampling);
    let is_cut = cuts(sampling);
    (temperature != 1.0 || is_cut)
        .then_some(Trace { temperature, cut: config.renormalise && is_cut })
}

/// The settings that identify a training run, beside those of its rollouts, aggregates and rewards.
/// Keys that were renamed keep their former name here, so that digests stay.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TrainingSpec<'a> {
    format: u32,
    data: TrainingData<'a>,
    num_prompts: usize,
    objective: &'a ObjectiveSettings,
    #[serde(rename = "prompts-a-step")]
    prompts_per_step: u32,
    mini_batches: u32,
    passes: u32,
    truncated: Truncated,
    #[serde(rename = "tokens-a-pass")]
    tokens_per_pass: u32,
    optimizer: &'a AdamWConfig,
    schedule: &'a ScheduleConfig,
    lora: Option<&'a LoraConfig>,
    /// Present if it is not 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprob_temperature: Option<f64>,
    /// Present if the manifest names it: by default it follows from the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_logprobs: Option<OldLogprobs>,
    /// Present if servers sample the rollouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout_server: Option<ServerKind>,
    /// Version of the order of prompts; present if steps do not divide an epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<u32>,
    /// Present if the learning rate depends on it: otherwise a longer run begins as a shorter one.
    num_steps: Option<u32>,
}

impl Training {
    /// Creates the training run of a cell; `stages` are its inputs with the initial policy.
    pub(crate) fn new(train: &Train, stages: &StageInputs<'_>) -> Result<Self, StoreError> {
        let Train { settings, objective, rollouts } = train;
        let temperature = logprob_temperature(objective, stages.sampling);
        let num_prompts = stages.tasks.tasks.len();
        let divides = num_prompts.is_multiple_of(settings.prompts_per_step as usize);
        let decays = settings.schedule.kind != preceptor_trainer::Decay::Constant;
        let spec = TrainingSpec {
            format: RECORD_FORMAT,
            data: stages.training_data(objective.entry().needs.reference),
            num_prompts,
            objective,
            prompts_per_step: settings.prompts_per_step,
            mini_batches: settings.mini_batches,
            passes: settings.passes,
            truncated: settings.truncated,
            tokens_per_pass: settings.tokens_per_pass,
            optimizer: &settings.optimizer,
            schedule: &settings.schedule,
            lora: settings.lora.as_ref(),
            logprob_temperature: (temperature != 1.0).then_some(temperature),
            old_logprobs: settings.old_logprobs,
            rollout_server: rollouts.as_ref().map(RolloutServersConfig::kind),
            order: (!divides).then_some(ORDER_VERSION),
            num_steps: decays.then_some(settings.steps),
        };
        Ok(Self {
            settings: settings.clone(),
            objective: objective.clone(),
            rollouts: rollouts.clone(),
            initial: stages.model.clone(),
            untrained: None,
            temperature,
            trace: trace(objective, stages.sampling),
            steps: StageSpec::new("train-steps", &spec)?,
            groups: StageSpec::new("train-groups", &spec)?,
            costs: StageSpec::new("train-costs", &spec)?,
            evaluations: Vec::new(),
            choice: None,
            losses: None,
        })
    }

    /// Returns the identity of the policy after `step` steps.
    pub(crate) fn identity(&self, step: u64) -> ModelIdentity {
        if step == 0 {
            return self.initial.clone();
        }
        let parts = [self.steps.digest().as_str().as_bytes(), b"step", &step.to_le_bytes()];
        ModelIdentity { weights: Digest::of_parts(parts), ..self.initial.clone() }
    }

    /// Adds the losses on the targets of `cell`, the validation prompts with the initial policy.
    pub(crate) fn measure_losses(&mut self, cell: Cell) -> Result<(), StoreError> {
        let ObjectiveSettings::Sft(config) = &self.objective else { return Ok(()) };
        let aggregation = config.aggregation;
        let spec = LossesSpec {
            format: RECORD_FORMAT,
            steps: self.steps.digest(),
            aggregates: cell.stages.aggregates.digest(),
            prompts: prompts_of(&cell.tasks),
            aggregation,
        };
        let stage = StageSpec::new("validation-losses", &spec)?;
        self.losses = Some(ValidationLosses { stage, cell: Rc::new(cell), aggregation });
        Ok(())
    }

    /// Names the choice of a step, once the evaluations are known.
    pub(crate) fn choose(&mut self) -> Result<(), StoreError> {
        let Some(rule) = &self.settings.early_stopping else { return Ok(()) };
        let of_validation =
            self.evaluations.iter().filter(|known| known.split == Split::Validation);
        let metrics: Vec<_> = match &self.losses {
            Some(losses) => vec![(0, losses.stage.digest())],
            None => of_validation
                .clone()
                .map(|known| (known.step, known.demand.cell.stages.rollout_grades.digest()))
                .collect(),
        };
        let prompts = match &self.losses {
            Some(losses) => prompts_of(&losses.cell.tasks),
            None => of_validation
                .clone()
                .next()
                .map_or(Digest::of(&[]), |known| prompts_of(&known.demand.cell.tasks)),
        };
        let spec = ChoiceSpec {
            format: RECORD_FORMAT,
            steps: self.steps.digest(),
            rule,
            last_step: u64::from(self.settings.steps),
            num_rollouts: self.settings.evaluation_rollouts,
            prompts,
            metrics,
        };
        self.choice = Some(StageSpec::new("train-choice", &spec)?);
        Ok(())
    }

    /// Returns the losses on the validation targets, if they decide when to stop.
    pub(crate) fn losses(&self) -> Option<&ValidationLosses> {
        self.losses.as_ref()
    }

    /// Returns the cell with the initial policy on the prompts that are trained on.
    pub(crate) fn untrained(&self) -> &Cell {
        self.untrained.as_ref().expect("it is set when the plan is made")
    }

    /// Returns the evaluations after `step`, one per split.
    pub(crate) fn evaluations_of(&self, step: u64) -> impl Iterator<Item = &Evaluation> {
        self.evaluations.iter().filter(move |known| known.step == step)
    }

    /// Returns the policy that the plan reports before training. With early stopping it is a name
    /// for a choice that is still open; no rollout is sampled under it.
    pub(crate) fn planned_identity(&self) -> ModelIdentity {
        match &self.choice {
            None => self.identity(u64::from(self.settings.steps)),
            Some(choice) => {
                let parts = [choice.digest().as_str().as_bytes(), b"open"];
                ModelIdentity { weights: Digest::of_parts(parts), ..self.initial.clone() }
            }
        }
    }

    /// Returns the name under which the policy of `identity` is opened.
    pub(crate) fn policy_name(&self, model: &str, identity: &ModelIdentity) -> String {
        if *identity == self.initial {
            model.to_owned()
        } else {
            format!("{model} trained as {}", identity.weights)
        }
    }

    /// Returns the steps after which the policy is evaluated; 0 is the initial policy.
    pub(crate) fn evaluated_steps(&self) -> Vec<u64> {
        let last = u64::from(self.settings.steps);
        let every = u64::from(self.settings.evaluate_every);
        let between = (1..last).filter(|step| every > 0 && step.is_multiple_of(every));
        [0].into_iter().chain(between).chain([last]).collect()
    }

    /// Returns warnings about settings that have no effect together.
    pub(crate) fn warnings(&self, group_size: u32, sampling: &Sampling) -> Vec<String> {
        let updates = self.settings.updates_per_step();
        let mut found = match &self.objective {
            ObjectiveSettings::Grpo(config) => {
                let run = warnings::GrpoRun {
                    num_updates_per_batch: updates,
                    group_size,
                    has_reference: config.needs_reference(),
                };
                let mut found = warnings::grpo(config, run);
                if cuts(sampling) && !config.renormalise {
                    found.push(
                        "top-k, top-p or min-p cut the distribution that rollouts are sampled from, but the policy gradient takes them for samples of the whole one: tokens that are never sampled lose and gain probability without a sample. The kept mass is recorded per token; `train.objective.renormalise = true` scores tokens under the cut distribution"
                            .to_owned(),
                    );
                }
                found
            }
            ObjectiveSettings::Sft(_) => Vec::new(),
        };
        found.extend(warnings::adamw(&self.settings.optimizer));
        let num_updates = u64::from(self.settings.steps) * u64::from(updates);
        found.extend(warnings::schedule(&self.settings.schedule, num_updates));
        found
    }

    /// Returns the record of the training run of a cell with `reward`.
    pub(crate) fn record(&self, reward: &[RewardTerm]) -> TrainingRecord {
        let needs = self.objective.entry().needs.union(needs_of(reward));
        TrainingRecord {
            objective: self.objective.entry().name.to_owned(),
            num_steps: u64::from(self.settings.steps),
            uses_references: needs.reference,
            steps: self.steps.digest().clone(),
            groups: self.groups.digest().clone(),
            costs: self.costs.digest().clone(),
            evaluations: self.evaluations.iter().map(Evaluation::record).collect(),
            choice: self.choice.as_ref().map(|stage| stage.digest().clone()),
        }
    }
}
