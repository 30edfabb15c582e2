//! `across_tasks`: each condition over several benchmarks together. It is left out of experiments
//! with a single benchmark.
//!
//! - `iqm`: the interquartile mean of the scores of all benchmarks and seeds, with a bootstrap interval over
//!   the prompts of each benchmark.
//! - `probability_of_improvement`: the chance that a seed of the condition scores above one of `reference` on a
//!   benchmark, ties counting half, averaged over benchmarks. The reference is `single` if it is there, else
//!   the first condition.
//! - `tasks` are the benchmarks on which the condition has a score; `note` warns of few.
//!
//! Both are those of Agarwal et al. 2021. Scores of different benchmarks are not adjusted to each other.

use preceptor_stats::{Runs, interquartile_score, mean, probability_of_improvement};

use crate::condition::Condition;
use crate::evidence::Evidence;
use crate::label::{AGGREGATOR, GROUP_SIZE};
use crate::table::Table;

/// Tasks below which the interquartile mean says little more than the mean.
const FEW: usize = 4;

/// A condition with its scores on each benchmark; no runs where it has none.
struct Row<'a> {
    first: Condition<'a>,
    key: Vec<(String, String)>,
    tasks: Vec<Runs>,
}

impl Row<'_> {
    /// Returns the mean of each run, by task.
    fn means(&self) -> Vec<Vec<f64>> {
        let of_run =
            |run: &Vec<Option<f64>>| mean(&run.iter().copied().flatten().collect::<Vec<_>>());
        self.tasks.iter().map(|runs| runs.iter().filter_map(of_run).collect()).collect()
    }

    fn num_tasks(&self) -> usize {
        self.tasks.iter().filter(|runs| !runs.is_empty()).count()
    }
}

pub(crate) fn across_tasks(evidence: &Evidence) -> Table {
    let caption = "Conditions over all benchmarks together: interquartile mean of scores, and the \
                   chance of a better score than the reference";
    let mut table = Table::new("across_tasks", caption);
    let conditions = evidence.scored();
    let mut benchmarks: Vec<&str> = Vec::new();
    for condition in &conditions {
        if !benchmarks.contains(&condition.cell.benchmark.as_str()) {
            benchmarks.push(&condition.cell.benchmark);
        }
    }
    if benchmarks.len() < 2 {
        return table;
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    for condition in &conditions {
        let key = key(evidence, condition);
        let runs = evidence.estimate_scores(condition).runs;
        let task = benchmarks.iter().position(|known| *known == condition.cell.benchmark);
        let task = task.expect("every benchmark is listed");
        let place = rows.iter().position(|row| row.key == key).unwrap_or_else(|| {
            let tasks = vec![Runs::new(); benchmarks.len()];
            rows.push(Row { first: condition.clone(), key, tasks });
            rows.len() - 1
        });
        rows[place].tasks[task] = runs;
    }
    rows.retain(|row| row.num_tasks() > 1);
    let Some(reference) = rows.iter().find(|row| row.first.is_baseline()).or(rows.first()) else {
        return table;
    };
    let (name, of_reference) = (reference.first.estimate_name(evidence), reference.means());
    for (i, (key, _)) in rows[0].key.iter().enumerate() {
        table.text(key, rows.iter().map(|row| row.key[i].1.clone()).collect());
    }
    let scores: Vec<_> = rows
        .iter()
        .map(|row| {
            let tasks: Vec<Runs> =
                row.tasks.iter().filter(|runs| !runs.is_empty()).cloned().collect();
            interquartile_score(&tasks)
        })
        .collect();
    let interval = |of: &Option<(f64, Option<preceptor_stats::Interval>)>| of.and_then(|(_, i)| i);
    table.number("iqm", scores.iter().map(|of| of.map(|(center, _)| center)).collect());
    table.number("iqm_low", scores.iter().map(|of| interval(of).map(|i| i.low)).collect());
    table.number("iqm_high", scores.iter().map(|of| interval(of).map(|i| i.high)).collect());
    let better = rows.iter().map(|row| probability_of_improvement(&row.means(), &of_reference));
    table.number("probability_of_improvement", better.collect());
    table.text("reference", vec![name; rows.len()]);
    table.count("tasks", rows.iter().map(|row| row.num_tasks() as u64).collect());
    let seeds = |row: &Row<'_>| row.tasks.iter().map(Vec::len).max().unwrap_or(0) as u64;
    table.count("seeds", rows.iter().map(seeds).collect());
    let note = |row: &Row<'_>| if row.num_tasks() < FEW { "few tasks" } else { "" };
    table.notes(rows.iter().map(note).collect());
    table
}

/// Returns what tells a condition from others on the same benchmark.
fn key(evidence: &Evidence, condition: &Condition<'_>) -> Vec<(String, String)> {
    let axes = evidence.plan.axes.iter().map(|axis| axis.key.as_str());
    let axes = axes.filter(|key| *key != "benchmark" && !key.starts_with("benchmark."));
    let mut key: Vec<_> = axes.map(|key| (key.to_owned(), condition.axis(key))).collect();
    for (axis, value) in [
        (AGGREGATOR, condition.cell.aggregator.clone()),
        (GROUP_SIZE, condition.cell.group_size.to_string()),
    ] {
        if key.iter().all(|(known, _)| known != axis) {
            key.push((axis.to_owned(), value));
        }
    }
    key
}
