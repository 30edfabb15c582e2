//! Records of the store, which reports read back.
//!
//! A stage of the store holds records of one type. Their keys are made by the functions here, so
//! that writer and reader agree. [`PlanRecord`] ties the stages of an experiment together; it is
//! all that reports need besides the store.

mod training;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Aggregate, Continuation, Digest, GroupReward, JudgedCriterion, ModelRole, Prompt, PromptId,
    Rollout, Seed, Split, Thinking, TokenScores,
};

pub use training::{
    CHOICE_KEY, EvaluationRecord, RolloutServerRecord, TimelineRecord, TokenTraceRecord,
    TrainChoiceRecord, TrainCostRecord, TrainGroupRecord, TrainStepRecord, TrainingRecord,
    ValidationLossRecord, step_group_key, step_key,
};

/// Version of every record type here. It is part of each stage's specification.
pub const RECORD_FORMAT: u32 = 1;

/// The key of one rollout: prompt and index in the group.
pub fn rollout_key(prompt: &PromptId, index: u32) -> String {
    format!("{prompt}#{index}")
}

/// A prompt as it was asked, with what a page shows beside it. Stage `prompts`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PromptRecord {
    /// The prompt of the policy.
    pub prompt: Prompt,
    /// The bare question, for people.
    pub question: String,
    /// Named facts to split results by, for example `level` and `subject`.
    pub tags: BTreeMap<String, String>,
}

/// Record of a rollout. Stage `rollouts`, keyed by [`rollout_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolloutRecord {
    /// Id of the prompt.
    pub prompt: PromptId,
    /// The rollout.
    pub rollout: Rollout,
}

/// Aggregate of a group. Stage `aggregates`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AggregateRecord {
    /// Id of the prompt.
    pub prompt: PromptId,
    /// The pseudo-reference and what is known about it.
    pub aggregate: Aggregate,
}

/// A call to a model other than a rollout of the policy: a synthesis, a rubric, a judge's reply.
/// Stage `calls`, keyed by [`call_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CallRecord {
    /// The prompt of the call. Its id names the purpose.
    pub prompt: Prompt,
    /// The reply.
    pub rollout: Rollout,
}

/// The key of a call: what was asked and the stream of its answer, whoever asks.
pub fn call_key(prompt: &Prompt, seed: &Seed) -> String {
    let body = serde_json::to_vec(&prompt.body).expect("a prompt is plain data");
    prompt_digest(prompt.thinking, [body.as_slice(), seed.as_bytes()])
}

/// Digests what is asked. Keys of records that were stored before there was a switch for thinking stay as
/// they are.
fn prompt_digest(thinking: Thinking, [prompt, rest]: [&[u8]; 2]) -> String {
    match thinking {
        Thinking::Off => Digest::of_parts([prompt, rest]).to_string(),
        Thinking::On => Digest::of_parts([prompt, rest, b"thinking"]).to_string(),
    }
}

/// Log-probabilities that a model was asked for. Stage `scores`, keyed by [`score_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ScoreRecord {
    /// The prompt before the scored text. Its id names the purpose.
    pub prompt: PromptId,
    /// The numbers.
    pub scores: TokenScores,
}

/// The key of a score request: what stands before and what is scored.
pub fn score_key(prompt: &Prompt, continuation: &Continuation) -> String {
    let body = serde_json::to_vec(&prompt.body).expect("a prompt is plain data");
    let continuation = serde_json::to_vec(continuation).expect("a continuation is plain data");
    prompt_digest(prompt.thinking, [body.as_slice(), continuation.as_slice()])
}

/// The rewards of a group. Stage `rewards`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RewardRecord {
    /// Id of the prompt.
    pub prompt: PromptId,
    /// The rewards and what they rest on.
    pub group: GroupReward,
}

/// A score, or why there is none. A missing score is never a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Measured against the label: in [0, 1] for final answers, up to 1 for rubrics with points.
    Scored(f64),
    /// The score could not be measured, for this reason.
    Unscored(String),
}

impl Score {
    /// The number, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Scored(value) => Some(*value),
            Self::Unscored(_) => None,
        }
    }
}

/// A text measured against its label. Stages `rollout-grades` (keyed by [`rollout_key`]) and
/// `grades` (keyed by prompt).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GradeRecord {
    /// Id of the prompt.
    pub prompt: PromptId,
    /// The score.
    pub score: Score,
    /// The final answer that was found in the text.
    pub answer: Option<String>,
    /// The rule by which it was found, or why none was.
    pub extraction: String,
    /// Reason for the score.
    pub reason: String,
    /// The label, for the page.
    pub label: String,
    /// The verdicts that a score by a rubric rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<JudgedCriterion>,
}

/// Classes of rollouts with the same answer. Stage `answer-classes`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AnswerClassRecord {
    /// Id of the prompt.
    pub prompt: PromptId,
    /// For each rollout by index, the number of its class; none where it gives no answer.
    pub classes: Vec<Option<u32>>,
}

/// Cost of filling (part of) a stage. Each run that adds to the stage has one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CostRecord {
    /// Records that were added.
    pub num_records: u64,
    /// Prompt tokens that were read.
    pub num_prompt_tokens: u64,
    /// Tokens that were sampled.
    pub num_generated_tokens: u64,
    /// Wall-clock time.
    pub wall_secs: f64,
    /// Cost in USD, by the prices of the endpoint; `money` in records.
    #[serde(rename = "money", default, skip_serializing_if = "is_zero")]
    pub cost_usd: f64,
}

fn is_zero(cost: &f64) -> bool {
    *cost == 0.0
}

/// The stages behind one cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellStages {
    /// [`PromptRecord`]s.
    pub prompts: Digest,
    /// [`RolloutRecord`]s.
    pub rollouts: Digest,
    /// [`GradeRecord`]s of every rollout.
    pub rollout_grades: Digest,
    /// [`AnswerClassRecord`]s of the cell's groups.
    pub answer_classes: Digest,
    /// [`AggregateRecord`]s.
    pub aggregates: Digest,
    /// [`GradeRecord`]s of the pseudo-references.
    pub grades: Digest,
    /// [`RewardRecord`]s, where the cell derives rewards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Digest>,
}

/// Cell of the matrix: a condition with a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CellRecord {
    /// Digest of the resolved specification.
    pub id: Digest,
    /// The cell's value on each axis of the matrix, as text.
    pub axes: BTreeMap<String, String>,
    /// The run seed.
    pub seed: u64,
    /// Name of the benchmark as the manifest calls it.
    pub benchmark: String,
    /// Name of the model as the manifest calls it.
    pub model: String,
    /// Kind of the aggregator.
    pub aggregator: String,
    /// True if the aggregator sees labels: an upper bound, not a method.
    pub sees_labels: bool,
    /// Name of the reward, where the cell derives rewards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<String>,
    /// True if a term of the reward sees labels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reward_sees_labels: bool,
    /// Name of the anchor, where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// Name of the judge, where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// Rollouts in a group.
    pub group_size: u32,
    /// Name and version of the grader, for example `verify-1`.
    pub grader: String,
    /// Ids of the prompts, in order.
    pub prompts: Vec<PromptId>,
    /// True if texts of the benchmark may appear on a published page.
    pub shareable: bool,
    /// Stages with its records. Those of a trained cell are of the policy after training.
    pub stages: CellStages,
    /// The training run, if the policy is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// The resolved settings of the cell, as TOML.
    pub settings: String,
}

/// A part of the manifest that could not be planned on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// The missing part, for example `benchmark math500`.
    pub part: String,
    /// Number of cells that are left out with it.
    pub num_cells: u64,
    /// Reason.
    pub reason: String,
}

/// A comparison of two conditions that was declared before the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContrastRecord {
    /// The comparison in words.
    pub name: String,
    /// The measure.
    #[serde(default)]
    pub metric: ContrastMetric,
    /// The condition, as `AXIS=VALUE`, several with commas between.
    pub a: String,
    /// The condition that it is compared with, likewise; or `initial` or `rollouts`.
    pub b: String,
    /// The prompts that trained policies are evaluated on, of [`ContrastMetric::Policy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The step of training, of [`ContrastMetric::Policy`]; none for the chosen or last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
}

/// The measure of a contrast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContrastMetric {
    /// The score of pseudo-references.
    #[default]
    Score,
    /// The score of a trained policy's own answers.
    Policy,
}

/// Axis of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AxisRecord {
    /// The key that varies, for example `aggregator.kind`.
    pub key: String,
    /// Values in the order of the manifest.
    pub values: Vec<String>,
}

/// Everything a report needs to find and to name its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanRecord {
    /// [`RECORD_FORMAT`] of the writer.
    pub format: u32,
    /// Name of the manifest's file, without its ending.
    pub experiment: String,
    /// The manifest's title.
    pub title: String,
    /// The manifest's description: what is asked and why.
    pub description: String,
    /// The axes, in order.
    pub axes: Vec<AxisRecord>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Every cell.
    pub cells: Vec<CellRecord>,
    /// Parts that were left out.
    pub left_out: Vec<LeftOut>,
    /// Comparisons that were declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contrasts: Vec<ContrastRecord>,
    /// Stages in which runs noted their spending, by role. They hold [`CostRecord`]s only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spending: BTreeMap<ModelRole, Digest>,
    /// Named digests of everything that went in: models, data, prompts.
    pub inputs: BTreeMap<String, String>,
    /// The manifest's resolved settings, as TOML.
    pub settings: String,
    /// Revision of the code, and whether it was changed.
    pub code_revision: String,
}
