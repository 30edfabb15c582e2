//! `measures`: what aggregators say about their decisions, averaged over prompts and seeds, for
//! example the margin and entropy of votes.

use std::collections::BTreeMap;

use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn measures(evidence: &Evidence) -> Table {
    let mut labels: [Vec<String>; 3] = Default::default();
    let mut group_sizes = Vec::new();
    let mut means = Vec::new();
    for condition in evidence.conditions() {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for cell in &condition.cells {
            for prompt in &cell.prompts {
                for (name, value) in &evidence.aggregate(cell, prompt.as_str()).aggregate.measures {
                    values.entry(name).or_default().push(*value);
                }
            }
        }
        for (name, values) in values {
            let cell = condition.cell;
            let texts = [cell.benchmark.clone(), cell.aggregator.clone(), name.to_owned()];
            for (column, text) in labels.iter_mut().zip(texts) {
                column.push(text);
            }
            group_sizes.push(u64::from(cell.group_size));
            means.push(Some(values.iter().sum::<f64>() / values.len() as f64));
        }
    }
    let mut table =
        Table::new("measures", "What aggregators say about their decisions, averaged over prompts");
    let [benchmark, aggregator, measure] = labels;
    table.text("benchmark", benchmark);
    table.text("aggregator", aggregator);
    table.count("group_size", group_sizes);
    table.text("measure", measure);
    table.number("mean", means);
    table
}
