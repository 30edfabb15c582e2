//! The `[train]` table, and what it means for a cell.

use std::rc::Rc;

use preceptor_core::record::{RECORD_FORMAT, TrainingRecord};
use preceptor_core::{Digest, ModelIdentity};
use preceptor_models::{LayerStates, LoraConfig};
use preceptor_store::{Error as StoreError, StageSpec};
use preceptor_trainer::{AdamWConfig, ScheduleConfig, warnings};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::evaluation::Evaluation;
use crate::catalog::ObjectiveSettings;
use crate::document::Document;
use crate::error::ManifestError;
use crate::plan::Cell;
use crate::reading::{names_of, optional_table, read, read_kind};
use crate::roles::out_of_range;
use crate::settings::OutOfRange;
use crate::stages::{RewardTerm, StageInputs, TrainingData, needs_of};

/// What becomes of rollouts that were cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// They are trained on like the others, with the reward they got.
    #[default]
    Keep,
    /// They count in the statistics of their group and have no part in the loss (DAPO's overlong
    /// filtering).
    Mask,
}

/// When to stop before the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EarlyStopping {
    /// Evaluations without a better validation score after which training stops, 1 to 1000. The weights
    /// of the best one are the result. Default: 3 (our choice).
    pub patience: u32,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { patience: 3 }
    }
}

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TrainSettings {
    /// Steps, 1 to 1000000: each draws rollouts, or takes targets, and updates the weights. Default:
    /// 1000 (paper, the most).
    pub steps: u32,
    /// Prompts a step, 1 to as many as the benchmark has. Default: 256 (paper; the unit is ours).
    pub prompts_a_step: u32,
    /// Parts that the prompts of a step are cut into, each an update of its own, 1 to the prompts of a
    /// step. Default: 1 (verl 0.5, which the paper's authors used).
    pub mini_batches: u32,
    /// How often the prompts of a step are gone through, 1 to 100. Default: 1 (verl 0.5).
    pub passes: u32,
    /// What becomes of rollouts that were cut off: `keep` or `mask`. Default: `keep` (our choice; the
    /// paper does not say).
    pub truncated: Truncated,
    /// Tokens, of prompts and rollouts, that go through the model at once; bounds memory. Gradients of
    /// several passes add up to those of one, up to rounding. Default: 2048 (our choice).
    pub tokens_a_pass: u32,
    /// Compute the states inside of each layer again on the way back instead of keeping them: a fraction
    /// of the memory for a quarter more time. On the CPU results are the same to the bit, so records of
    /// both kinds are one. Default: false.
    pub gradient_checkpointing: bool,
    /// Steps between evaluations; 0 evaluates the first and the last policy only. Default: 0.
    pub evaluate_every: u32,
    /// Rollouts a prompt in evaluations on the way, 1 to 4096. Default: 1 (our choice).
    pub evaluation_rollouts: u32,
    /// Steps between checkpoints, 1 to 1000000. Default: 10 (our choice).
    pub checkpoint_every: u32,
    /// Checkpoints that are kept, 1 to 1000. Default: 1 (our choice).
    pub keep_checkpoints: u32,
    /// Whether checkpoints of a finished training keep what the optimiser remembers, two thirds of them,
    /// from which a longer training goes on; else the weights alone stay. Default: true.
    pub keep_optimizer: bool,
    /// The optimiser.
    pub optimizer: AdamWConfig,
    /// The learning rate.
    pub schedule: ScheduleConfig,
    /// Train low-rank adapters instead of the weights. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// Stop where the score on `[validation]` gets no better. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            steps: 1000,
            prompts_a_step: 256,
            mini_batches: 1,
            passes: 1,
            truncated: Truncated::Keep,
            tokens_a_pass: 2048,
            gradient_checkpointing: false,
            evaluate_every: 0,
            evaluation_rollouts: 1,
            checkpoint_every: 10,
            keep_checkpoints: 1,
            keep_optimizer: true,
            optimizer: AdamWConfig::default(),
            schedule: ScheduleConfig::default(),
            lora: None,
            early_stopping: None,
        }
    }
}

impl TrainSettings {
    /// What becomes of the states inside of layers.
    pub(crate) fn layer_states(&self) -> LayerStates {
        match self.gradient_checkpointing {
            false => LayerStates::Kept,
            true => LayerStates::Recomputed,
        }
    }

    /// Bytes of checkpoints for each trained weight: once the training is finished, and at most before.
    pub(crate) fn checkpoint_bytes(&self) -> [u64; 2] {
        let (weight, moments) = (4, 8);
        let best = u64::from(self.early_stopping.is_some());
        let kept = u64::from(self.keep_checkpoints) + best;
        let finished = kept * if self.keep_optimizer { weight + moments } else { weight };
        [finished, (kept + 1) * (weight + moments)]
    }

    /// Updates a step.
    pub(crate) fn updates_a_step(&self) -> u32 {
        self.mini_batches * self.passes
    }

    /// The first setting outside its range.
    fn out_of_range(&self) -> Option<OutOfRange> {
        let counts = [
            ("steps", self.steps, 1..=1_000_000, "1 to 1000000"),
            ("prompts-a-step", self.prompts_a_step, 1..=1_000_000, "1 to 1000000"),
            ("mini-batches", self.mini_batches, 1..=self.prompts_a_step, "1 to `prompts-a-step`"),
            ("passes", self.passes, 1..=100, "1 to 100"),
            ("tokens-a-pass", self.tokens_a_pass, 1..=1 << 24, "1 to 16777216"),
            ("evaluation-rollouts", self.evaluation_rollouts, 1..=4096, "1 to 4096"),
            ("checkpoint-every", self.checkpoint_every, 1..=1_000_000, "1 to 1000000"),
            ("keep-checkpoints", self.keep_checkpoints, 1..=1000, "1 to 1000"),
        ];
        let wrong = counts.into_iter().find(|(_, value, range, _)| !range.contains(value));
        if let Some((key, value, _, allowed)) = wrong {
            return Some(OutOfRange { key, value: value.to_string(), allowed });
        }
        if let Some((key, value, allowed)) = self.optimizer.out_of_range() {
            let key = match key {
                "beta1" => "optimizer.beta1",
                "beta2" => "optimizer.beta2",
                "epsilon" => "optimizer.epsilon",
                "weight-decay" => "optimizer.weight-decay",
                _ => "optimizer.max-gradient-norm",
            };
            return Some(OutOfRange { key, value, allowed });
        }
        if let Some((_, value, allowed)) = self.schedule.out_of_range() {
            return Some(OutOfRange { key: "schedule.learning-rate", value, allowed });
        }
        let patience = self.early_stopping.as_ref().map(|stopping| stopping.patience);
        match patience {
            Some(patience) if !(1..=1000).contains(&patience) => Some(OutOfRange {
                key: "early-stopping.patience",
                value: patience.to_string(),
                allowed: "1 to 1000",
            }),
            _ => None,
        }
    }
}

/// The `[train]` table of a cell, read.
pub(crate) struct Train {
    pub(crate) settings: TrainSettings,
    pub(crate) objective: ObjectiveSettings,
}

/// Reads `[train]`: `kind` names the objective, whose own settings stand in `[train.objective]`.
pub(crate) fn read_train(
    document: &Document,
    table: &mut Table,
) -> Result<Option<Train>, ManifestError> {
    if !table.contains_key("train") {
        return Ok(None);
    }
    let mut train = optional_table(document, table, "train")?;
    let kind = train.remove("kind");
    let mut objective = match train.remove("objective") {
        None => Table::new(),
        Some(Value::Table(objective)) => objective,
        Some(_) => {
            let detail = "`train.objective` is a table: write `[train.objective]`";
            return Err(document.error_at("train.objective", detail));
        }
    };
    let kinds = names_of(ObjectiveSettings::ALL);
    // The kind stands in `[train]`, so errors about it point there.
    let mut named = Table::new();
    named.extend(kind.clone().map(|kind| ("kind".to_owned(), kind)));
    let _: Kind = read_kind(document, "train", named, &[], &kinds)?;
    objective.extend(kind.map(|kind| ("kind".to_owned(), kind)));
    let objective: ObjectiveSettings =
        read(document, "train.objective", Value::Table(objective), &[])?;
    let settings: TrainSettings =
        read(document, "train", Value::Table(train), &["kind", "objective"])?;
    if let Some(wrong) = settings.out_of_range() {
        return Err(out_of_range(document, "train", &wrong));
    }
    if let Some((key, value, allowed)) = objective.out_of_range() {
        let wrong = OutOfRange { key, value, allowed };
        return Err(out_of_range(document, "train.objective", &wrong));
    }
    Ok(Some(Train { settings, objective }))
}

/// Only the `kind` of a table.
#[derive(Deserialize)]
struct Kind {
    #[expect(dead_code, reason = "that it reads is all that is asked")]
    kind: String,
}

/// The training of a cell, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub(crate) settings: TrainSettings,
    pub(crate) objective: ObjectiveSettings,
    /// The policy before the first step.
    pub(crate) initial: ModelIdentity,
    /// The cell with that policy; none only while the plan is made.
    pub(crate) untrained: Option<Rc<Cell>>,
    pub(crate) steps: StageSpec,
    pub(crate) groups: StageSpec,
    pub(crate) costs: StageSpec,
    /// By rising step; several of one step are of several splits.
    pub(crate) evaluations: Vec<Evaluation>,
}

/// What the course of a training depends on, beside what its rollouts, aggregates and rewards do.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TrainingSpec<'a> {
    format: u32,
    data: TrainingData<'a>,
    num_prompts: usize,
    objective: &'a ObjectiveSettings,
    prompts_a_step: u32,
    mini_batches: u32,
    passes: u32,
    truncated: Truncated,
    tokens_a_pass: u32,
    optimizer: &'a AdamWConfig,
    schedule: &'a ScheduleConfig,
    lora: Option<&'a LoraConfig>,
    /// Only where the learning rate depends on it: else a longer training begins as a shorter one.
    num_steps: Option<u32>,
}

impl Training {
    /// The training of a cell; `stages` are its inputs with the initial policy.
    pub(crate) fn new(train: &Train, stages: &StageInputs<'_>) -> Result<Self, StoreError> {
        let Train { settings, objective } = train;
        let decays = settings.schedule.kind != preceptor_trainer::Decay::Constant;
        let spec = TrainingSpec {
            format: RECORD_FORMAT,
            data: stages.training_data(objective.entry().needs.reference),
            num_prompts: stages.tasks.tasks.len(),
            objective,
            prompts_a_step: settings.prompts_a_step,
            mini_batches: settings.mini_batches,
            passes: settings.passes,
            truncated: settings.truncated,
            tokens_a_pass: settings.tokens_a_pass,
            optimizer: &settings.optimizer,
            schedule: &settings.schedule,
            lora: settings.lora.as_ref(),
            num_steps: decays.then_some(settings.steps),
        };
        Ok(Self {
            settings: settings.clone(),
            objective: objective.clone(),
            initial: stages.model.clone(),
            untrained: None,
            steps: StageSpec::new("train-steps", &spec)?,
            groups: StageSpec::new("train-groups", &spec)?,
            costs: StageSpec::new("train-costs", &spec)?,
            evaluations: Vec::new(),
        })
    }

    /// The policy after `step` steps.
    pub(crate) fn identity(&self, step: u64) -> ModelIdentity {
        if step == 0 {
            return self.initial.clone();
        }
        let parts = [self.steps.digest().as_str().as_bytes(), b"step", &step.to_le_bytes()];
        ModelIdentity { weights: Digest::of_parts(parts), ..self.initial.clone() }
    }

    /// The policy that is the result; `validation` names the prompts that decide when to stop.
    pub(crate) fn final_identity(&self, validation: Option<&Digest>) -> ModelIdentity {
        let steps = u64::from(self.settings.steps);
        let (Some(stopping), Some(validation)) = (&self.settings.early_stopping, validation) else {
            return self.identity(steps);
        };
        // Which step it is only the run will tell; the rule that chooses it is known.
        let rule = serde_json::to_string(stopping).expect("settings are plain data");
        let rhythm = [self.settings.evaluate_every, self.settings.evaluation_rollouts];
        let parts = [
            self.steps.digest().as_str().as_bytes(),
            b"best",
            rule.as_bytes(),
            &steps.to_le_bytes(),
            &rhythm[0].to_le_bytes(),
            &rhythm[1].to_le_bytes(),
            validation.as_str().as_bytes(),
        ];
        ModelIdentity { weights: Digest::of_parts(parts), ..self.initial.clone() }
    }

    /// What the policy of `identity` is called where models are opened.
    pub(crate) fn policy_name(&self, model: &str, identity: &ModelIdentity) -> String {
        match *identity == self.initial {
            true => model.to_owned(),
            false => format!("{model} trained as {}", identity.weights),
        }
    }

    /// The steps before which or after which the policy is evaluated.
    pub(crate) fn evaluated_steps(&self) -> Vec<u64> {
        let last = u64::from(self.settings.steps);
        let every = u64::from(self.settings.evaluate_every);
        let between = (1..last).filter(|step| every > 0 && step.is_multiple_of(every));
        [0].into_iter().chain(between).chain([last]).collect()
    }

    /// Settings that have no effect together.
    pub(crate) fn warnings(&self, group_size: u32) -> Vec<String> {
        let updates = self.settings.updates_a_step();
        let mut found = match &self.objective {
            ObjectiveSettings::Grpo(config) => {
                let run = warnings::GrpoRun {
                    num_updates_per_batch: updates,
                    group_size,
                    has_reference: config.needs_reference(),
                };
                warnings::grpo(config, run)
            }
            ObjectiveSettings::Sft(_) => Vec::new(),
        };
        found.extend(warnings::adamw(&self.settings.optimizer));
        let num_updates = u64::from(self.settings.steps) * u64::from(updates);
        found.extend(warnings::schedule(&self.settings.schedule, num_updates));
        found
    }

    /// The training of a cell with `reward` as reports read it.
    pub(crate) fn record(&self, reward: &[RewardTerm]) -> TrainingRecord {
        let needs = self.objective.entry().needs.and(needs_of(reward));
        TrainingRecord {
            objective: self.objective.entry().name.to_owned(),
            num_steps: u64::from(self.settings.steps),
            uses_references: needs.reference,
            steps: self.steps.digest().clone(),
            groups: self.groups.digest().clone(),
            costs: self.costs.digest().clone(),
            evaluations: self.evaluations.iter().map(Evaluation::record).collect(),
            choice: None,
        }
    }
}
