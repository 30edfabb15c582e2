//! `healthbench`: the metrics of HealthBench's reference code, one row for each condition, seed and
//! metric, for any benchmark with rubrics and points.
//!
//! - `metric`: `overall_score`, a tag of the example (`theme:..`), which copies the example's score, or
//!   a tag of rubric items (`axis:..`, `level:..`), scored over these items alone.
//! - `score` = clip(mean over examples, 0, 1); an example's score is the points of met items over the
//!   positive points. One run of upstream is one seed here.
//! - `bootstrap_std`: the standard deviation of `score` over 1000 resamples of the examples' scores by
//!   rising size, with the seeds 0 to 999.
//! - `examples` have a score; `unscored` have none: a verdict failed, there was no pseudo-reference, or
//!   a call failed.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::PromptId;
use preceptor_core::record::CellRecord;
use preceptor_stats::{CheckedItem, CheckedResponse, rubric_scores};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::facts::GradeFacts;
use crate::table::Table;

/// Resamples of the bootstrap, as upstream.
const NUM_RESAMPLES: u64 = 1000;

pub(crate) fn healthbench(evidence: &Evidence) -> Table {
    let mut conditions = evidence.scored();
    conditions.retain(|condition| evidence.has_rubric(condition.cell));
    let resamples: Vec<u64> = (0..NUM_RESAMPLES).collect();
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut seeds, mut metrics, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for condition in &conditions {
        for cell in &condition.cells {
            let rubrics = unjudged(evidence, &conditions, cell);
            let response = |prompt| checked(evidence, cell, prompt, &rubrics);
            let responses: Vec<_> = cell.prompts.iter().map(response).collect();
            for (metric, score) in rubric_scores(&responses, &resamples) {
                rows.push(condition);
                seeds.push(cell.seed);
                metrics.push(metric);
                scores.push(score);
            }
        }
    }
    let caption = "HealthBench metrics: clipped means with their bootstrap standard deviation";
    let mut table = Table::new("healthbench", caption);
    identify(&mut table, evidence, &rows);
    table.count("seed", seeds);
    table.text("metric", metrics);
    table.number("score", scores.iter().map(|score| Some(score.mean)).collect());
    table.number("bootstrap_std", scores.iter().map(|score| Some(score.bootstrap_std)).collect());
    table.count("examples", scores.iter().map(|score| score.num_examples as u64).collect());
    table.count("unscored", scores.iter().map(|score| score.num_unscored as u64).collect());
    table
}

/// Returns a response with its verdicts. Without a grade, every item's verdict is missing.
fn checked(
    evidence: &Evidence,
    cell: &CellRecord,
    prompt: &PromptId,
    rubrics: &BTreeMap<&PromptId, Vec<CheckedItem>>,
) -> CheckedResponse {
    let record = evidence.prompt(cell, prompt.as_str());
    let judged = evidence.grade(cell, prompt.as_str()).map(items).unwrap_or_default();
    let items =
        if judged.is_empty() { rubrics.get(prompt).cloned().unwrap_or_default() } else { judged };
    let tags: BTreeSet<String> =
        record.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    CheckedResponse { items, tags }
}

fn items(grade: &GradeFacts) -> Vec<CheckedItem> {
    grade.items().collect()
}

/// Returns the items of each prompt of a cell without verdicts, from any record that has them.
fn unjudged<'a>(
    evidence: &Evidence,
    conditions: &[Condition<'_>],
    cell: &'a CellRecord,
) -> BTreeMap<&'a PromptId, Vec<CheckedItem>> {
    let of_prompt = |prompt: &'a PromptId| {
        let rollouts =
            (0..cell.group_size).filter_map(|index| evidence.rollout_grade(cell, prompt, index));
        let others = conditions.iter().flat_map(|condition| &condition.cells);
        let others = others
            .filter(|other| other.benchmark == cell.benchmark)
            .filter_map(|other| evidence.grade(other, prompt.as_str()));
        let mut items = rollouts.chain(others).map(items).find(|items| !items.is_empty())?;
        for item in &mut items {
            item.met = None;
        }
        Some((prompt, items))
    };
    cell.prompts.iter().filter_map(of_prompt).collect()
}
