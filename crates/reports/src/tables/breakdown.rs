//! `breakdown`: accuracy by the benchmark's tags (level, subject), for every condition at its
//! benchmark's largest group.

use std::collections::BTreeMap;

use preceptor_stats::clustered_proportion;

use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn breakdown(evidence: &Evidence) -> Table {
    let conditions = evidence.conditions();
    let largest = |benchmark: &str| {
        let sizes = conditions.iter().filter(|c| c.cell.benchmark == benchmark);
        sizes.map(|c| c.cell.group_size).max().unwrap_or(0)
    };
    let mut labels: [Vec<String>; 4] = Default::default();
    let (mut means, mut lows, mut highs) = (Vec::new(), Vec::new(), Vec::new());
    let mut sizes = Vec::new();
    for condition in &conditions {
        let cell = condition.cell;
        if cell.group_size != largest(&cell.benchmark) {
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
            let estimate = clustered_proportion(&clusters);
            let texts = [cell.benchmark.clone(), cell.aggregator.clone(), tag, value];
            for (column, text) in labels.iter_mut().zip(texts) {
                column.push(text);
            }
            means.push(estimate.map(|e| e.mean));
            lows.push(estimate.and_then(|e| e.interval).map(|i| i.low));
            highs.push(estimate.and_then(|e| e.interval).map(|i| i.high));
            sizes.push(clusters.len() as u64);
        }
    }
    let mut table =
        Table::new("breakdown", "Accuracy by the benchmark's tags, at the largest group size");
    let [benchmark, aggregator, tag, value] = labels;
    table.text("benchmark", benchmark);
    table.text("aggregator", aggregator);
    table.text("tag", tag);
    table.text("value", value);
    table.number("accuracy", means);
    table.number("low", lows);
    table.number("high", highs);
    table.count("prompts", sizes);
    table
}
