//! The `[train]` table.

use preceptor_core::{OutOfRange, Split};
use preceptor_endpoints::RolloutServersConfig;
use preceptor_models::{LayerStates, LoraConfig};
use preceptor_trainer::{AdamWConfig, ScheduleConfig};
use serde::{Deserialize, Serialize};

use crate::catalog::ObjectiveSettings;

/// Treatment of rollouts that were cut off.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// They are trained on like the others, with their reward.
    #[default]
    Keep,
    /// They count in the statistics of their group and are left out of the loss (DAPO's overlong
    /// filtering).
    Mask,
}

/// Source of the log-probabilities under the policy that sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OldLogprobs {
    /// The sampler's records.
    Sampler,
    /// A pass with the operations of an update, before the first one.
    Recompute,
}

/// The metric on the validation prompts that early stopping compares.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The mean score of the policy's rollouts; the higher, the better.
    #[default]
    Score,
    /// The cross-entropy of the pseudo-references; the lower, the better.
    Loss,
}

impl Metric {
    /// Returns the name in manifests and records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Loss => "loss",
        }
    }
}

/// Early stopping: the step with the best metric is the one that is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EarlyStopping {
    /// Evaluations without a better metric after which training stops, 1 to 1000. The weights of the
    /// best one are the result. Default: 3 (our choice).
    pub patience: u32,
    /// The compared metric on the validation prompts: `score`, or with `kind = "sft"` also `loss`, the
    /// loss on their pseudo-references. Default: `score` (our choice; the paper fine-tunes by loss).
    pub metric: Metric,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { patience: 3, metric: Metric::Score }
    }
}

/// The `[train]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TrainSettings {
    /// Steps, 1 to 1000000. Each samples rollouts, or takes targets, and updates the weights. Default:
    /// 1000 (paper, the most).
    pub steps: u32,
    /// Prompts per step, 1 to the number that the benchmark has. Default: 256 (paper; the unit is ours).
    pub prompts_per_step: u32,
    /// Mini-batches per step, each with its own update, 1 to the prompts of a
    /// step. Default: 1 (verl 0.5, which the paper's authors used).
    pub mini_batches: u32,
    /// Passes over the prompts of a step, 1 to 100. Default: 1 (verl 0.5).
    pub passes: u32,
    /// Treatment of rollouts that were cut off: `keep` or `mask`. Default: `keep` (our choice; the
    /// paper does not say).
    pub truncated: Truncated,
    /// Log-probabilities of the rollouts under the policy that sampled them, in the ratio and in the KL
    /// reward: `sampler` for those that sampling recorded, `recompute` for those of a pass with the
    /// operations of an update. Default: `sampler` on the CPU, where both are the same bit for bit;
    /// `recompute` on other devices, where they differ by rounding, and with `sampler-correction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_logprobs: Option<OldLogprobs>,
    /// Tokens, of prompts and rollouts, that go through the model at once; bounds memory. Gradients of
    /// several passes add up to those of one, up to rounding. Default: 2048 (our choice).
    pub tokens_per_pass: u32,
    /// Compute the states inside of each layer again on the way back instead of keeping them: a fraction
    /// of the memory for a quarter more time. On the CPU results are bit-identical, so records of
    /// both kinds are one. Default: false.
    pub gradient_checkpointing: bool,
    /// Steps between evaluations; 0 evaluates the first and the last policy only. Default: 0.
    pub evaluate_every: u32,
    /// Splits that are evaluated: of `test-time` (the prompts that are trained on), `held-out` and
    /// `validation`. Default: every split that the manifest has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<Vec<Split>>,
    /// Prompts per split that are evaluated, the first ones; 0 takes all. Default: 0.
    pub evaluation_prompts: u32,
    /// Rollouts per prompt in evaluations, 1 to 4096. Default: 1 (our choice).
    pub evaluation_rollouts: u32,
    /// The prompts on which the trained policy answers for the tables of scores, pseudo-references and
    /// rollouts: `test-time` or `held-out`. Default: `test-time`.
    pub final_split: Split,
    /// Steps between checkpoints, 1 to 1000000. Default: 10 (our choice).
    pub checkpoint_every: u32,
    /// Checkpoints that are kept, 1 to 1000. Default: 1 (our choice).
    pub keep_checkpoints: u32,
    /// Keep the optimizer state, two thirds of a checkpoint, after the training run is finished, so that
    /// a longer run can resume from it; otherwise only the weights are kept. Default: true.
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
            prompts_per_step: 256,
            mini_batches: 1,
            passes: 1,
            truncated: Truncated::Keep,
            old_logprobs: None,
            tokens_per_pass: 2048,
            gradient_checkpointing: false,
            evaluate_every: 0,
            evaluate: None,
            evaluation_prompts: 0,
            evaluation_rollouts: 1,
            final_split: Split::TestTime,
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
    /// Returns the treatment of the activations inside layers.
    pub(crate) fn layer_states(&self) -> LayerStates {
        if self.gradient_checkpointing { LayerStates::Recomputed } else { LayerStates::Kept }
    }

    /// Returns the bytes of checkpoints per trained weight: after the training run, and at most before.
    pub(crate) fn checkpoint_bytes(&self) -> [u64; 2] {
        let (weight, moments) = (4, 8);
        let best = u64::from(self.early_stopping.is_some());
        let kept = u64::from(self.keep_checkpoints) + best;
        let finished = kept * if self.keep_optimizer { weight + moments } else { weight };
        [finished, (kept + 1) * (weight + moments)]
    }

    /// Returns the number of updates per step.
    pub(crate) fn updates_per_step(&self) -> u32 {
        self.mini_batches * self.passes
    }

    /// Checks the range of every key, those of the tables within included.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let counts = [
            ("steps", self.steps, 1..=1_000_000, "between 1 and 1000000"),
            ("prompts-per-step", self.prompts_per_step, 1..=1_000_000, "between 1 and 1000000"),
            (
                "mini-batches",
                self.mini_batches,
                1..=self.prompts_per_step,
                "between 1 and `prompts-per-step`",
            ),
            ("passes", self.passes, 1..=100, "between 1 and 100"),
            ("tokens-per-pass", self.tokens_per_pass, 1..=1 << 24, "between 1 and 16777216"),
            ("evaluation-rollouts", self.evaluation_rollouts, 1..=4096, "between 1 and 4096"),
            ("checkpoint-every", self.checkpoint_every, 1..=1_000_000, "between 1 and 1000000"),
            ("keep-checkpoints", self.keep_checkpoints, 1..=1000, "between 1 and 1000"),
        ];
        for (key, value, range, allowed) in counts {
            OutOfRange::check(key, value, range.contains(&value), allowed)?;
        }
        self.optimizer.check().map_err(|error| error.within("optimizer"))?;
        self.schedule.check().map_err(|error| error.within("schedule"))?;
        if let Some(lora) = &self.lora {
            lora.check().map_err(|error| error.within("lora"))?;
        }
        if let Some(EarlyStopping { patience, .. }) = self.early_stopping {
            let is_allowed = (1..=1000).contains(&patience);
            let key = "early-stopping.patience";
            OutOfRange::check(key, patience, is_allowed, "between 1 and 1000")?;
        }
        Ok(())
    }
}

/// The `[train]` table of a cell, read.
pub(crate) struct Train {
    pub(crate) settings: TrainSettings,
    pub(crate) objective: ObjectiveSettings,
    /// Servers that sample its rollouts.
    pub(crate) rollouts: Option<RolloutServersConfig>,
}
