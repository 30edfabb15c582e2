//! `scores`: what each condition scores, how sure that is, and how it compares.
//!
//! - `score` with its 95 % interval (`low`, `high`) is over prompts; a prompt's seeds are averaged
//!   first. For final answers it is the share of prompts that are right; for rubrics with points it is
//!   `clip(mean, 0, 1)`, with the mean as it was in `unclipped`.
//! - `delta` is the paired difference to `single` with everything else equal, of scores that are not
//!   clipped; `p_holm` is adjusted over all conditions of a benchmark that see no labels.
//! - `standing` says, within a benchmark and without the upper bounds, which condition is best, or
//!   which are tied for it: their paired difference to the highest one is not told apart from 0.
//! - `coverage` is the share of wanted scores that are there; `failed` the share of records that could
//!   not be had because a call failed; `abstained` the share of groups without a pseudo-reference.
//!
//! Conditions that differ only in what scores don't depend on, such as the reward, are one row.

use preceptor_core::AggregateOutcome;
use preceptor_stats::{
    Estimate, PairedDifference, clustered_mean, holm, paired_difference, score_estimate,
};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

/// The aggregator that deltas are against.
const BASELINE: &str = "single";

struct Row<'a> {
    condition: Condition<'a>,
    is_rubric: bool,
    scores: Vec<Vec<f64>>,
    delta: Option<PairedDifference>,
    p_holm: Option<f64>,
    standing: &'static str,
}

pub(crate) fn scores(evidence: &Evidence) -> Table {
    let mut rows: Vec<Row<'_>> = evidence
        .scored()
        .into_iter()
        .map(|condition| Row {
            is_rubric: evidence.has_rubric(condition.cell),
            scores: evidence.scores(&condition),
            condition,
            delta: None,
            p_holm: None,
            standing: "",
        })
        .collect();
    for row in rows.iter_mut().filter(|row| row.condition.cell.sees_labels) {
        row.standing = "upper bound";
    }
    let families = families(&rows);
    compare_with_baseline(&mut rows, &families);
    for family in &families {
        rank(&mut rows, family);
    }

    let caption = "Score by condition, with 95 % intervals over prompts. The score is the share of \
                   prompts whose final answer is right; of rubrics with points, the mean share of \
                   points, clipped to [0, 1]";
    let mut table = Table::new("scores", caption);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    let estimate = |row: &Row<'_>| score_estimate(row.is_rubric, &row.scores);
    let estimates: Vec<_> = rows.iter().map(estimate).collect();
    table.estimates(["score", "low", "high"], &estimates);
    if rows.iter().any(|row| row.is_rubric) {
        let mean = |row: &Row<'_>| clustered_mean(&row.scores).map(|estimate| estimate.mean);
        table.number("unclipped", rows.iter().map(mean).collect());
    }
    let deltas: Vec<Option<Estimate>> =
        rows.iter().map(|row| row.delta.map(|delta| delta.estimate)).collect();
    table.estimates(["delta", "delta_low", "delta_high"], &deltas);
    table.number("p_holm", rows.iter().map(|row| row.p_holm).collect());
    table.text("standing", rows.iter().map(|row| row.standing.to_owned()).collect());
    table.count("prompts", rows.iter().map(|row| row.scores.len() as u64).collect());
    table.count("seeds", rows.iter().map(|row| row.condition.cells.len() as u64).collect());
    table.number("coverage", rows.iter().map(coverage).collect());
    let failed =
        |row: &Row<'_>| share(&row.condition, |cell, key| evidence.grade(cell, key).is_none());
    table.number("failed", rows.iter().map(failed).collect());
    let abstained = |row: &Row<'_>| {
        share(&row.condition, |cell, key| {
            let outcome = evidence.aggregate(cell, key).map(|record| &record.aggregate.outcome);
            matches!(outcome, Some(AggregateOutcome::Abstained(_)))
        })
    };
    table.number("abstained", rows.iter().map(abstained).collect());
    table.text("grader", rows.iter().map(|row| row.condition.cell.grader.clone()).collect());
    table
}

/// The share of wanted scores that are there.
fn coverage(row: &Row<'_>) -> Option<f64> {
    let wanted = row.scores.len() * row.condition.cells.len();
    let scored: usize = row.scores.iter().map(Vec::len).sum();
    (wanted > 0).then(|| scored as f64 / wanted as f64)
}

/// The share of a condition's prompts and seeds of which `is` holds.
fn share(
    condition: &Condition<'_>,
    is: impl Fn(&preceptor_core::record::CellRecord, &str) -> bool,
) -> Option<f64> {
    let all: usize = condition.cells.iter().map(|cell| cell.prompts.len()).sum();
    let of_cell = |cell: &&preceptor_core::record::CellRecord| {
        cell.prompts.iter().filter(|prompt| is(cell, prompt.as_str())).count()
    };
    let part: usize = condition.cells.iter().map(of_cell).sum();
    (all > 0).then(|| part as f64 / all as f64)
}

/// Rows whose scores are of one kind: the same benchmark, graded and judged in the same way.
fn families(rows: &[Row<'_>]) -> Vec<Vec<usize>> {
    let kind = |row: &Row<'_>| {
        let cell = row.condition.cell;
        let judge = cell.axes.iter().filter(|(key, _)| key.starts_with("eval-judge"));
        let judge: Vec<_> = judge.map(|(_, value)| value.clone()).collect();
        (cell.benchmark.clone(), cell.grader.clone(), judge)
    };
    let mut families: Vec<Vec<usize>> = Vec::new();
    for i in 0..rows.len() {
        let known = families.iter_mut().find(|family| kind(&rows[family[0]]) == kind(&rows[i]));
        match known {
            Some(family) => family.push(i),
            None => families.push(vec![i]),
        }
    }
    families
}

fn compare_with_baseline(rows: &mut [Row<'_>], families: &[Vec<usize>]) {
    for i in 0..rows.len() {
        if rows[i].condition.cell.aggregator == BASELINE {
            continue;
        }
        let baseline = rows.iter().position(|other| {
            other.condition.cell.aggregator == BASELINE
                && rows[i].condition.shares_groups(&other.condition)
        });
        rows[i].delta =
            baseline.and_then(|other| paired_difference(&rows[i].scores, &rows[other].scores));
    }
    let p_value = |row: &Row<'_>| row.delta.and_then(|delta| delta.p_value);
    for family in families {
        let compared: Vec<usize> = family
            .iter()
            .copied()
            .filter(|&i| !rows[i].condition.cell.sees_labels && p_value(&rows[i]).is_some())
            .collect();
        let p_values: Vec<f64> = compared.iter().filter_map(|&i| p_value(&rows[i])).collect();
        for (&i, adjusted) in compared.iter().zip(holm(&p_values)) {
            rows[i].p_holm = Some(adjusted);
        }
    }
}

fn rank(rows: &mut [Row<'_>], family: &[usize]) {
    let mean = |i: usize| clustered_mean(&rows[i].scores).map(|estimate| estimate.mean);
    let ranked: Vec<(usize, f64)> = family
        .iter()
        .filter(|&&i| !rows[i].condition.cell.sees_labels)
        .filter_map(|&i| Some((i, mean(i)?)))
        .collect();
    let best = ranked.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some(&(best, _)) = best else { return };
    let is_tied = |i: &usize| {
        rows[*i].condition.cell.prompts == rows[best].condition.cell.prompts
            && paired_difference(&rows[*i].scores, &rows[best].scores).is_some_and(|delta| {
                delta.estimate.interval.is_none_or(|i| i.low <= 0.0 && i.high >= 0.0)
            })
    };
    let tied: Vec<usize> = ranked.into_iter().map(|(i, _)| i).filter(is_tied).collect();
    let standing = if tied.len() > 1 { "tied for best" } else { "best" };
    for i in tied {
        rows[i].standing = standing;
    }
}
