//! The explorer: question by question, what was drawn, estimated and scored.
//!
//! One benchmark, one list of prompts, shown for the plan's first seed at the largest group. Texts
//! travel as JSON inside the page and reach it as text nodes only, so that nothing a model wrote is
//! ever markup.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, rollout_key};
use preceptor_core::{AggregateOutcome, Origin};
use serde::Serialize;

use crate::evidence::Evidence;

/// Everything the explorer shows of one benchmark.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Explorer {
    /// The benchmark.
    pub(crate) benchmark: String,
    /// Whether the page that holds it may be published.
    pub(crate) shareable: bool,
    seed: u64,
    group_size: u32,
    grader: String,
    prompts: Vec<PromptView>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PromptView {
    id: String,
    question: String,
    /// The whole prompt as the policy read it.
    asked: String,
    label: String,
    tags: BTreeMap<String, String>,
    rollouts: Vec<RolloutView>,
    references: Vec<ReferenceView>,
    /// Names of the filters that this prompt passes.
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RolloutView {
    text: String,
    answer: Option<String>,
    extraction: String,
    score: Option<f64>,
    reason: String,
    class: Option<u32>,
    finish: &'static str,
    num_tokens: u64,
    logprob: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReferenceView {
    aggregator: String,
    sees_labels: bool,
    /// The rollout it is, or what else it is.
    origin: String,
    answer: Option<String>,
    score: Option<f64>,
    measures: BTreeMap<String, f64>,
}

/// One explorer for each benchmark.
pub(crate) fn explorers(evidence: &Evidence) -> Vec<Explorer> {
    let mut explorers: Vec<Explorer> = Vec::new();
    for cell in evidence.rollout_cells() {
        if explorers.iter().any(|explorer| explorer.benchmark == cell.benchmark) {
            continue;
        }
        let sharers: Vec<&CellRecord> = evidence
            .plan
            .cells
            .iter()
            .filter(|other| {
                other.stages.rollouts == cell.stages.rollouts && other.group_size == cell.group_size
            })
            .collect();
        let prompts = cell.prompts.iter().map(|id| prompt_view(evidence, cell, &sharers, id));
        explorers.push(Explorer {
            benchmark: cell.benchmark.clone(),
            shareable: cell.shareable,
            seed: cell.seed,
            group_size: cell.group_size,
            grader: cell.grader.clone(),
            prompts: prompts.collect(),
        });
    }
    explorers
}

fn prompt_view(
    evidence: &Evidence,
    cell: &CellRecord,
    sharers: &[&CellRecord],
    id: &preceptor_core::PromptId,
) -> PromptView {
    let record = evidence.prompt(cell, id.as_str());
    let classes = &evidence.classes(cell, id.as_str()).classes;
    let rollout_view = |index: u32| {
        let key = rollout_key(id, index);
        let rollout = &evidence.rollout(cell, &key).rollout;
        let grade = evidence.rollout_grade(cell, &key);
        RolloutView {
            text: rollout.text.clone(),
            answer: grade.answer.clone(),
            extraction: grade.extraction.clone(),
            score: grade.score.value(),
            reason: grade.reason.clone(),
            class: classes.get(index as usize).copied().flatten(),
            finish: rollout.finish.name(),
            num_tokens: rollout.num_tokens(),
            logprob: rollout.logprobs.iter().map(|&logprob| f64::from(logprob)).sum(),
        }
    };
    let rollouts: Vec<_> = (0..cell.group_size).map(rollout_view).collect();
    let reference_view = |cell: &&CellRecord| {
        let aggregate = &evidence.aggregate(cell, id.as_str()).aggregate;
        let grade = evidence.grade(cell, id.as_str());
        let origin = match &aggregate.outcome {
            AggregateOutcome::Estimated(reference) => match reference.origin {
                Origin::Rollout(index) => format!("rollout {index}"),
                Origin::Written => "written".to_owned(),
            },
            AggregateOutcome::Abstained(reason) => format!("none: {}", reason.name()),
        };
        ReferenceView {
            aggregator: cell.aggregator.clone(),
            sees_labels: cell.sees_labels,
            origin,
            answer: grade.answer.clone(),
            score: grade.score.value(),
            measures: aggregate.measures.clone(),
        }
    };
    let references: Vec<_> = sharers.iter().map(reference_view).collect();
    let label = evidence.grade(cell, id.as_str()).label.clone();
    let flags = flags(&rollouts, &references);
    PromptView {
        id: id.to_string(),
        question: record.question.clone(),
        asked: record.prompt.display_text(),
        label,
        tags: record.tags.clone(),
        rollouts,
        references,
        flags,
    }
}

fn flags(rollouts: &[RolloutView], references: &[ReferenceView]) -> Vec<&'static str> {
    let right = rollouts.iter().filter(|rollout| rollout.score == Some(1.0)).count();
    let majority = references.iter().find(|reference| reference.aggregator == "majority");
    let mut flags = Vec::new();
    if right == rollouts.len() {
        flags.push("all right");
    }
    if right == 0 {
        flags.push("all wrong");
    }
    if right > 0 && right < rollouts.len() {
        flags.push("mixed group");
    }
    if majority.is_some_and(|m| m.score != Some(1.0)) && right > 0 {
        flags.push("majority wrong, some rollout right");
    }
    if majority.is_some_and(|m| m.measures.get("tied") == Some(&1.0)) {
        flags.push("majority tied");
    }
    if rollouts.iter().any(|rollout| rollout.answer.is_none()) {
        flags.push("a rollout without an answer");
    }
    flags
}
