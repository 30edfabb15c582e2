//! `measures` and `reward_measures`: measures that aggregators report about their decisions (the
//! margin and entropy of votes) and derivers about their rewards (shares of rubric criteria that
//! tell rollouts apart, are always met, or repeat another), averaged over the prompts and seeds
//! that have them.

use std::collections::BTreeMap;

use preceptor_core::PromptId;
use preceptor_core::record::CellRecord;
use preceptor_stats::mean;

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::facts::Measures;
use crate::table::Table;

pub(crate) fn measures(evidence: &Evidence) -> Table {
    let of = |cell: &CellRecord, prompt: &PromptId| {
        evidence.aggregate(cell, prompt.as_str()).map(|facts| &facts.measures)
    };
    let caption = "Measures of the aggregators' decisions, averaged over prompts";
    let conditions = evidence.distinct(|stages| Some(vec![&stages.aggregates]));
    averages(Table::new("measures", caption), evidence, &conditions, of)
}

pub(crate) fn reward_measures(evidence: &Evidence) -> Table {
    let of = |cell: &CellRecord, prompt: &PromptId| {
        evidence.reward(cell, prompt.as_str()).map(|facts| &facts.measures)
    };
    let caption = "Measures of the rewards, averaged over prompts";
    let conditions = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    averages(Table::new("reward_measures", caption), evidence, &conditions, of)
}

fn averages<'e>(
    mut table: Table,
    evidence: &'e Evidence,
    conditions: &[Condition<'_>],
    of: impl Fn(&CellRecord, &PromptId) -> Option<&'e Measures>,
) -> Table {
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut names, mut means, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for condition in conditions {
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for cell in &condition.cells {
            for prompt in &cell.prompts {
                for (name, value) in of(cell, prompt).into_iter().flatten() {
                    values.entry(name).or_default().push(*value);
                }
            }
        }
        for (name, values) in values {
            rows.push(condition);
            names.push(name.to_owned());
            means.push(mean(&values));
            sizes.push(values.len() as u64);
        }
    }
    identify(&mut table, evidence, &rows);
    table.text("measure", names);
    table.number("mean", means);
    table.count("groups", sizes);
    table
}
