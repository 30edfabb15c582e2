//! What is written to the store and read back by reports.
//!
//! A stage of the store holds records of one type. Their keys are made by the functions here, so
//! that writer and reader agree. [`PlanRecord`] ties the stages of an experiment together; it is
//! all that reports need besides the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Aggregate, Digest, Prompt, PromptId, Rollout};

/// Version of every record type here. It is part of each stage's specification.
pub const RECORD_FORMAT: u32 = 1;

/// The key of one rollout: prompt and place in the group.
pub fn rollout_key(prompt: &PromptId, index: u32) -> String {
    format!("{prompt}#{index}")
}

/// A prompt as it was asked, with what a page shows beside it. Stage `prompts`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PromptRecord {
    /// What the policy read.
    pub prompt: Prompt,
    /// The bare question, for people.
    pub question: String,
    /// Named facts to split results by, for example `level` and `subject`.
    pub tags: BTreeMap<String, String>,
}

/// One rollout. Stage `rollouts`, keyed by [`rollout_key`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolloutRecord {
    /// Which prompt.
    pub prompt: PromptId,
    /// What was drawn.
    pub rollout: Rollout,
}

/// What an aggregator made of a group. Stage `aggregates`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AggregateRecord {
    /// Which prompt.
    pub prompt: PromptId,
    /// The pseudo-reference and what is known about it.
    pub aggregate: Aggregate,
}

/// A score, or why there is none. A missing score is never a zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Measured against the label, in [0, 1].
    Scored(f64),
    /// It could not be measured, for this reason.
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
    /// Which prompt.
    pub prompt: PromptId,
    /// The score.
    pub score: Score,
    /// The final answer that was found in the text.
    pub answer: Option<String>,
    /// The rule by which it was found, or why none was.
    pub extraction: String,
    /// Why the score is what it is.
    pub reason: String,
    /// The label, for the page.
    pub label: String,
}

/// Which rollouts of a group give the same answer. Stage `answer-classes`, keyed by prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AnswerClassRecord {
    /// Which prompt.
    pub prompt: PromptId,
    /// For each rollout by index, the number of its class; none where it gives no answer.
    pub classes: Vec<Option<u32>>,
}

/// What filling (part of) a stage cost. One for each run that added to it.
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
}

/// One cell of the matrix: a condition with a seed.
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
    /// Whether the aggregator sees labels: an upper bound, not a method.
    pub sees_labels: bool,
    /// Rollouts in a group.
    pub group_size: u32,
    /// Name and version of the grader, for example `verify-1`.
    pub grader: String,
    /// Which prompts, in order.
    pub prompts: Vec<PromptId>,
    /// Whether texts of the benchmark may be shown on a page that is published.
    pub shareable: bool,
    /// Where the records are.
    pub stages: CellStages,
    /// The resolved settings of the cell, as TOML.
    pub settings: String,
}

/// A part of the manifest that could not be planned on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeftOut {
    /// What is missing, for example `benchmark math500`.
    pub part: String,
    /// How many cells are left out with it.
    pub num_cells: u64,
    /// Why.
    pub reason: String,
}

/// One axis of the matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AxisRecord {
    /// The key that varies, for example `aggregator.kind`.
    pub key: String,
    /// Its values in the manifest's order.
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
    /// What was left out.
    pub left_out: Vec<LeftOut>,
    /// Named digests of everything that went in: models, data, prompts.
    pub inputs: BTreeMap<String, String>,
    /// The manifest's resolved settings, as TOML.
    pub settings: String,
    /// Revision of the code, and whether it was changed.
    pub code_revision: String,
}
