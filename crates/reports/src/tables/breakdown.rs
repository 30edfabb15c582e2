//! `breakdown`: the score by the benchmark's tags (level, subject, theme), for every condition at its
//! benchmark's largest group. `score`, `low` and `high` are those of `scores`, over the prompts with
//! the tag.

use std::collections::BTreeMap;

use preceptor_stats::score_estimate;

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn breakdown(evidence: &Evidence) -> Table {
    let conditions = evidence.scored();
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut tags, mut values) = (Vec::new(), Vec::new());
    let mut estimates = Vec::new();
    let mut sizes = Vec::new();
    for condition in &conditions {
        let cell = condition.cell;
        if cell.group_size != evidence.largest_group(&cell.benchmark) {
            continue;
        }
        let mut clusters: BTreeMap<(String, String), Vec<Vec<f64>>> = BTreeMap::new();
        for (prompt, scores) in cell.prompts.iter().zip(evidence.scores(condition)) {
            for (tag, value) in &evidence.prompt(cell, prompt.as_str()).tags {
                let key = (tag.clone(), value.clone());
                clusters.entry(key).or_default().push(scores.clone());
            }
        }
        for ((tag, value), clusters) in clusters {
            rows.push(condition);
            tags.push(tag);
            values.push(value);
            estimates.push(score_estimate(evidence.has_rubric(cell), &clusters));
            sizes.push(clusters.len() as u64);
        }
    }
    let mut table =
        Table::new("breakdown", "Score by the benchmark's tags, at the largest group size");
    identify(&mut table, evidence, &rows);
    table.text("tag", tags);
    table.text("value", values);
    table.estimates(["score", "low", "high"], &estimates);
    table.count("prompts", sizes);
    table
}
