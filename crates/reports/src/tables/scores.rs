//! `scores`: what each condition scores, how sure that is, and how it compares.
//!
//! - `accuracy` with its 95 % interval is over prompts; a prompt's seeds are averaged first.
//! - `delta` is the paired difference to `single` with everything else equal; `p_holm` is adjusted
//!   over all conditions of a benchmark that see no labels.
//! - `standing` says, within a benchmark and without the upper bounds, which condition is best, or
//!   which are tied for it: their paired difference to the highest one is not told apart from 0.

use preceptor_core::AggregateOutcome;
use preceptor_stats::{PairedDifference, clustered_proportion, holm, paired_difference};

use crate::evidence::{Condition, Evidence};
use crate::table::Table;

/// The aggregator that deltas are against.
const BASELINE: &str = "single";

struct Row<'a> {
    condition: Condition<'a>,
    scores: Vec<Vec<f64>>,
    delta: Option<PairedDifference>,
    p_holm: Option<f64>,
    standing: &'static str,
}

pub(crate) fn scores(evidence: &Evidence) -> Table {
    let mut rows: Vec<Row<'_>> = evidence
        .conditions()
        .into_iter()
        .map(|condition| Row {
            scores: evidence.scores(&condition),
            condition,
            delta: None,
            p_holm: None,
            standing: "",
        })
        .collect();
    compare_with_baseline(&mut rows);
    rank(&mut rows);

    let mut table = Table::new("scores", "Accuracy by condition, with 95 % intervals over prompts");
    for axis in &evidence.plan.axes {
        let value = |row: &Row<'_>| row.condition.cell.axes[&axis.key].clone();
        table.text(&axis.key, rows.iter().map(value).collect());
    }
    // Columns that every condition needs, unless an axis shows them already.
    let axes: Vec<_> = evidence.plan.axes.iter().map(|axis| axis.key.as_str()).collect();
    let cell = |row: &Row<'_>| row.condition.cell.clone();
    if !axes.contains(&"benchmark") {
        table.text("benchmark", rows.iter().map(|row| cell(row).benchmark).collect());
    }
    if !axes.contains(&"aggregator.kind") {
        table.text("aggregator.kind", rows.iter().map(|row| cell(row).aggregator).collect());
    }
    if !axes.contains(&"sampling.group-size") {
        let size = |row: &Row<'_>| u64::from(row.condition.cell.group_size);
        table.count("sampling.group-size", rows.iter().map(size).collect());
    }
    let estimates: Vec<_> = rows.iter().map(|row| clustered_proportion(&row.scores)).collect();
    table.number("accuracy", estimates.iter().map(|e| e.map(|e| e.mean)).collect());
    let interval = |e: &Option<preceptor_stats::Estimate>| e.and_then(|e| e.interval);
    table.number("low", estimates.iter().map(|e| interval(e).map(|i| i.low)).collect());
    table.number("high", estimates.iter().map(|e| interval(e).map(|i| i.high)).collect());
    let delta = |row: &Row<'_>| row.delta.map(|delta| delta.estimate);
    table.number("delta", rows.iter().map(|row| delta(row).map(|e| e.mean)).collect());
    let ends = |row: &Row<'_>| delta(row).and_then(|e| e.interval);
    table.number("delta_low", rows.iter().map(|row| ends(row).map(|i| i.low)).collect());
    table.number("delta_high", rows.iter().map(|row| ends(row).map(|i| i.high)).collect());
    table.number("p_holm", rows.iter().map(|row| row.p_holm).collect());
    table.text("standing", rows.iter().map(|row| row.standing.to_owned()).collect());
    table.count("prompts", rows.iter().map(|row| row.scores.len() as u64).collect());
    table.count("seeds", rows.iter().map(|row| row.condition.cells.len() as u64).collect());
    table.number("coverage", rows.iter().map(|row| Some(coverage(row))).collect());
    table.number("abstained", rows.iter().map(|row| Some(abstained(evidence, row))).collect());
    table.text("grader", rows.iter().map(|row| cell(row).grader).collect());
    table
}

/// The share of wanted scores that are there.
fn coverage(row: &Row<'_>) -> f64 {
    let wanted = row.scores.len() * row.condition.cells.len();
    let scored: usize = row.scores.iter().map(Vec::len).sum();
    if wanted == 0 { 0.0 } else { scored as f64 / wanted as f64 }
}

/// The share of groups without a pseudo-reference.
fn abstained(evidence: &Evidence, row: &Row<'_>) -> f64 {
    let mut all = 0.0;
    let mut abstained = 0.0;
    for cell in &row.condition.cells {
        for prompt in &cell.prompts {
            let outcome = &evidence.aggregate(cell, prompt.as_str()).aggregate.outcome;
            all += 1.0;
            abstained += f64::from(u8::from(matches!(outcome, AggregateOutcome::Abstained(_))));
        }
    }
    if all == 0.0 { 0.0 } else { abstained / all }
}

fn compare_with_baseline(rows: &mut [Row<'_>]) {
    let same_but_aggregator = |a: &Row<'_>, b: &Row<'_>| {
        let (a, b) = (a.condition.cell, b.condition.cell);
        a.benchmark == b.benchmark
            && a.model == b.model
            && a.group_size == b.group_size
            && a.prompts == b.prompts
            && a.stages.rollouts == b.stages.rollouts
    };
    for i in 0..rows.len() {
        if rows[i].condition.cell.aggregator == BASELINE {
            continue;
        }
        let baseline = rows.iter().position(|other| {
            other.condition.cell.aggregator == BASELINE && same_but_aggregator(&rows[i], other)
        });
        rows[i].delta =
            baseline.and_then(|other| paired_difference(&rows[i].scores, &rows[other].scores));
    }
    let mut benchmarks: Vec<String> =
        rows.iter().map(|row| row.condition.cell.benchmark.clone()).collect();
    benchmarks.dedup();
    for benchmark in benchmarks {
        let family: Vec<usize> = (0..rows.len())
            .filter(|&i| {
                let cell = rows[i].condition.cell;
                cell.benchmark == benchmark && !cell.sees_labels && p_value(&rows[i]).is_some()
            })
            .collect();
        let p_values: Vec<f64> = family.iter().filter_map(|&i| p_value(&rows[i])).collect();
        for (&i, adjusted) in family.iter().zip(holm(&p_values)) {
            rows[i].p_holm = Some(adjusted);
        }
    }
}

fn p_value(row: &Row<'_>) -> Option<f64> {
    row.delta.and_then(|delta| delta.p_value)
}

fn rank(rows: &mut [Row<'_>]) {
    let mean = |row: &Row<'_>| clustered_proportion(&row.scores).map_or(0.0, |e| e.mean);
    let mut benchmarks: Vec<String> =
        rows.iter().map(|row| row.condition.cell.benchmark.clone()).collect();
    benchmarks.dedup();
    for benchmark in benchmarks {
        let ranked: Vec<usize> = (0..rows.len())
            .filter(|&i| {
                let cell = rows[i].condition.cell;
                cell.benchmark == benchmark && !cell.sees_labels
            })
            .collect();
        let best =
            ranked.iter().copied().max_by(|&a, &b| mean(&rows[a]).total_cmp(&mean(&rows[b])));
        let Some(best) = best else { continue };
        let is_tied = |&i: &usize| {
            rows[i].condition.cell.prompts == rows[best].condition.cell.prompts
                && paired_difference(&rows[i].scores, &rows[best].scores).is_some_and(|delta| {
                    delta.estimate.interval.is_none_or(|i| i.low <= 0.0 && i.high >= 0.0)
                })
        };
        let tied: Vec<usize> = ranked.into_iter().filter(is_tied).collect();
        let standing = if tied.len() > 1 { "tied for best" } else { "best" };
        for i in tied {
            rows[i].standing = standing;
        }
    }
    for row in rows.iter_mut().filter(|row| row.condition.cell.sees_labels) {
        row.standing = "upper bound";
    }
}
