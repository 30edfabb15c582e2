//! `breakdown`: score by the benchmark's tags (level, subject, theme), for every condition at its
//! benchmark's largest group. `score`, `low` and `high` are those of `scores`, over the prompts
//! with the tag; `note` says why there is no interval.

use std::collections::BTreeMap;

use preceptor_core::PromptId;
use preceptor_stats::Caution;

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn breakdown(evidence: &Evidence) -> Table {
    let conditions = evidence.scored();
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut tags, mut values) = (Vec::new(), Vec::new());
    let mut estimates = Vec::new();
    let (mut notes, mut sizes) = (Vec::new(), Vec::new());
    for condition in &conditions {
        let cell = condition.cell;
        if cell.group_size != evidence.largest_group(&cell.benchmark) {
            continue;
        }
        let mut tagged: BTreeMap<(String, String), Vec<&PromptId>> = BTreeMap::new();
        for prompt in &cell.prompts {
            for (tag, value) in &evidence.prompt(cell, prompt.as_str()).tags {
                tagged.entry((tag.clone(), value.clone())).or_default().push(prompt);
            }
        }
        let scored = evidence.estimate_scores(condition);
        for ((tag, value), prompts) in tagged {
            let part = scored.over(&prompts);
            rows.push(condition);
            tags.push(tag);
            values.push(value);
            estimates.push(part.estimate());
            notes.push(part.caution().map_or("", Caution::name));
            sizes.push(prompts.len() as u64);
        }
    }
    let mut table =
        Table::new("breakdown", "Score by the benchmark's tags, at the largest group size");
    identify(&mut table, evidence, &rows);
    table.text("tag", tags);
    table.text("value", values);
    table.estimates(["score", "low", "high"], &estimates);
    table.count("prompts", sizes);
    table.notes(notes);
    table
}
