//! Records of training runs: their steps, groups, costs, evaluations and the step that was chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Score;
use crate::{Aggregate, Digest, GroupReward, PromptId, Rollout, Split, StepMeasure, Usage};

/// The key of a step of training.
pub fn step_key(step: u64) -> String {
    format!("{step:06}")
}

/// The key of a group in a step of training.
pub fn step_group_key(step: u64, prompt: &PromptId) -> String {
    format!("{}/{prompt}", step_key(step))
}

/// Record of a training step. Stage `train-steps`, keyed by [`step_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainStepRecord {
    /// The step, from 1: the weights after it are those of this number.
    pub step: u64,
    /// Values by measure; a measure without a value is absent.
    pub measures: BTreeMap<StepMeasure, f64>,
}

/// Group of a training step. Stage `train-groups`, keyed by [`step_group_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainGroupRecord {
    /// The step, from 1.
    pub step: u64,
    /// Id of the prompt.
    pub prompt: PromptId,
    /// Rollouts of the policy.
    pub rollouts: Vec<Rollout>,
    /// The pseudo-reference, where the reward or the objective uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// The rewards, in the order of the rollouts.
    pub reward: GroupReward,
    /// The advantage of each rollout; none where it takes no part in the loss.
    pub advantages: Vec<Option<f64>>,
    /// Each rollout against the label, for the record only; none where that would take a judge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Score>,
    /// The pseudo-reference against the label, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_score: Option<Score>,
    /// The tokens of each rollout, in their order, under the distribution of the policy gradient;
    /// empty where that is the unmodified one and sampling cut nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_traces: Vec<TokenTraceRecord>,
}

/// A rollout's tokens as the policy gradient sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenTraceRecord {
    /// Natural log-probability of each token at the objective's temperature, over the kept tokens where
    /// it renormalises.
    pub logprobs: Vec<f32>,
    /// Probability of all tokens that top-k, top-p and min-p kept, at the sampling temperature.
    pub kept_mass: Vec<f32>,
}

/// Cost of a training step. Stage `train-costs`, keyed by [`step_key`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainCostRecord {
    /// The step, from 1.
    pub step: u64,
    /// Wall-clock time by phase.
    pub seconds: BTreeMap<String, f64>,
    /// Tokens that the policy read and sampled.
    pub usage: Usage,
    /// Rows of the passes forward and backward.
    pub num_rows: u64,
    /// The work of each rollout server, by address; empty if the trainer samples alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, RolloutServerRecord>,
    /// Work of the trainer and of each rollout server; empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineRecord>,
    /// The end of the step in Unix seconds; none in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
}

/// Work in a training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimelineRecord {
    /// `trainer`, or the address of a rollout server.
    pub actor: String,
    /// The phase.
    pub phase: String,
    /// Its start in seconds since the start of the step.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// The work of a rollout server in a training step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolloutServerRecord {
    /// Name of the weights that it loaded.
    pub weights: String,
    /// Rollouts that it sampled.
    pub num_rollouts: u64,
    /// Tokens of these rollouts.
    pub num_tokens: u64,
    /// Mean distance of a probe's log-probabilities from the trainer's, in nats.
    pub logprob_gap: f64,
    /// True if it sampled the same tokens with the same log-probabilities from one seed twice.
    pub repeats: bool,
}

/// Stages of a cell's training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainingRecord {
    /// The objective's name.
    pub objective: String,
    /// Steps that were planned.
    pub num_steps: u64,
    /// True if its rewards or targets come from pseudo-references.
    pub uses_references: bool,
    /// [`TrainStepRecord`]s.
    pub steps: Digest,
    /// [`TrainGroupRecord`]s.
    pub groups: Digest,
    /// [`TrainCostRecord`]s.
    pub costs: Digest,
    /// Evaluations during training.
    pub evaluations: Vec<EvaluationRecord>,
    /// The [`TrainChoiceRecord`], where an early-stopping rule chooses the step that is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Digest>,
}

/// The step whose weights an early-stopping rule chose. Written once the rule has decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainChoiceRecord {
    /// The chosen step; 0 is the initial policy.
    pub step: u64,
    /// The last step that was trained.
    pub last_step: u64,
    /// The compared metric: `score` (higher is better) or `loss` (lower is better).
    pub metric: String,
    /// The metric's value at the chosen step.
    pub value: f64,
}

/// The loss of a policy on the pseudo-references of the validation prompts. Stage
/// `validation-losses`, keyed by [`step_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ValidationLossRecord {
    /// Steps before it; 0 is the initial policy.
    pub step: u64,
    /// Mean cross-entropy in nats, aggregated as the objective does.
    pub loss: f64,
    /// Validation prompts with a pseudo-reference.
    pub num_targets: u64,
    /// Tokens of their pseudo-references.
    pub num_tokens: u64,
}

/// The key of the one [`TrainChoiceRecord`] of its stage.
pub const CHOICE_KEY: &str = "choice";

/// Evaluation of a policy during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EvaluationRecord {
    /// Steps before it; 0 is the initial policy.
    pub step: u64,
    /// The prompts' split.
    pub split: Split,
    /// Rollouts a prompt.
    pub num_rollouts: u32,
    /// Ids of the prompts, in order.
    pub prompts: Vec<PromptId>,
    /// [`RolloutRecord`](super::RolloutRecord)s.
    pub rollouts: Digest,
    /// [`GradeRecord`](super::GradeRecord)s of them.
    pub rollout_grades: Digest,
}
