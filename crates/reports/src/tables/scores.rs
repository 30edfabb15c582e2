//! `scores`: the score of each condition, its uncertainty, and its comparison with baselines.
//!
//! - `score` with its 95% interval (`low`, `high`). Where no policy is trained it is over prompts, a
//!   prompt's seeds averaged first; where each seed trains its own policy it is over training runs and
//!   prompts, crossed (see `preceptor_stats::crossed_score`), with the parts of its standard error that come
//!   from training (`training_se`) and from evaluation (`evaluation_se`). For final answers the score is the
//!   share of prompts that are right; for rubrics with points it is `clip(mean, 0, 1)`, with the mean as it
//!   was in `unclipped`.
//! - `vs_single` is the paired difference from `single` (one sampled rollout) on the same groups, `vs_rollouts`
//!   that from the mean of the group's own rollouts, with its share of that mean in `vs_rollouts_relative`; all
//!   of scores that are not clipped. `vs_single_p_holm` is
//!   adjusted over all conditions of a benchmark that are not upper bounds.
//! - `standing`: see [`super::standing`].
//! - `coverage` is the share of expected scores that are present. Where some are missing, `common_score` is the
//!   score over the `common_prompts` that every condition of the benchmark has a score of, for every seed.
//! - `failed` is the share of records that are missing because a call failed; `abstained` the share of
//!   groups without a pseudo-reference.
//!
//! Conditions with the same scores, which differ only in their reward for example, are one row.

use preceptor_core::record::CellRecord;
use preceptor_stats::{Contrast, Design, Estimate, Scale, holm};

use super::score_row::Row;
use super::standing::{common_prompts, rank};
use crate::condition::{Condition, identify};
use crate::condition_scores::ConditionScores;
use crate::evidence::Evidence;
use crate::facts::OutcomeFacts;
use crate::table::Table;

/// Columns that are left out if no condition has a value: without `single`, or with too few
/// prompts.
const OF_BASELINES: [&str; 8] = [
    "vs_single",
    "vs_single_low",
    "vs_single_high",
    "vs_single_p_holm",
    "vs_rollouts",
    "vs_rollouts_low",
    "vs_rollouts_high",
    "vs_rollouts_relative",
];

pub(crate) fn scores(evidence: &Evidence) -> Table {
    let mut rows: Vec<Row<'_>> = evidence
        .scored()
        .into_iter()
        .map(|condition| {
            let scored = evidence.estimate_scores(&condition);
            let vs_rollouts = scored.against(&evidence.rollout_scores(&condition));
            Row {
                condition,
                scored,
                vs_single: None,
                vs_rollouts,
                p_holm: None,
                standing: "",
                common: None,
            }
        })
        .collect();
    let families = families(&rows);
    compare_with_baseline(&mut rows, &families);
    for family in &families {
        let common = common_prompts(family.iter().map(|&i| &rows[i].scored));
        let common: Vec<_> = common.into_iter().cloned().collect();
        for &i in family {
            rows[i].common = Some(rows[i].scored.over(&common.iter().collect::<Vec<_>>()));
        }
        rank(&mut rows, family);
    }

    let caption = "Score by condition with 95% intervals over prompts or, for trained policies, over \
                   training runs and prompts. The score is the share of prompts whose final answer is \
                   right; for rubrics with points, the mean share of points, clipped to [0, 1]. \
                   `vs single` is the difference from one sampled rollout, `vs rollouts` the difference \
                   from the mean of the group's rollouts";
    let mut table = Table::new("scores", caption);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    add_scores(&mut table, &rows);
    let contrasts = |of: fn(&Row<'_>) -> Option<Contrast>| -> Vec<Option<Estimate>> {
        rows.iter().map(|row| of(row).map(|contrast| contrast.estimate)).collect()
    };
    let names = ["vs_single", "vs_single_low", "vs_single_high"];
    table.estimates(names, &contrasts(|row| row.vs_single));
    table.number("vs_single_p_holm", rows.iter().map(|row| row.p_holm).collect());
    let names = ["vs_rollouts", "vs_rollouts_low", "vs_rollouts_high"];
    table.estimates(names, &contrasts(|row| row.vs_rollouts));
    table.number("vs_rollouts_relative", rows.iter().map(relative).collect());
    table.drop_empty(&OF_BASELINES);
    table.text("standing", rows.iter().map(|row| row.standing.to_owned()).collect());
    table.count("prompts", rows.iter().map(|row| row.scored.prompts.len() as u64).collect());
    table.count("seeds", rows.iter().map(|row| row.scored.seeds.len() as u64).collect());
    table.number("coverage", rows.iter().map(|row| row.scored.coverage()).collect());
    if rows.iter().any(|row| row.scored.coverage() < Some(1.0)) {
        let common = |row: &Row<'_>| row.common.as_ref().and_then(ConditionScores::estimate);
        table.number("common_score", rows.iter().map(|r| common(r).map(|e| e.mean)).collect());
        let number = |row: &Row<'_>| row.common.as_ref().map_or(0, |of| of.prompts.len() as u64);
        table.count("common_prompts", rows.iter().map(number).collect());
    }
    let failed =
        |row: &Row<'_>| share(&row.condition, |cell, key| evidence.grade(cell, key).is_none());
    table.number("failed", rows.iter().map(failed).collect());
    let abstained = |row: &Row<'_>| {
        share(&row.condition, |cell, key| {
            let outcome = evidence.aggregate(cell, key).map(|facts| &facts.outcome);
            matches!(outcome, Some(OutcomeFacts::Abstained(_)))
        })
    };
    table.number("abstained", rows.iter().map(abstained).collect());
    table.text("grader", rows.iter().map(|row| row.condition.cell.grader.clone()).collect());
    table
}

/// Adds the score with its interval and the parts of its standard error.
fn add_scores(table: &mut Table, rows: &[Row<'_>]) {
    let estimates: Vec<_> = rows.iter().map(|row| row.scored.estimate()).collect();
    table.estimates(["score", "low", "high"], &estimates);
    if rows.iter().any(|row| row.scored.scale == Scale::Rubric) {
        table.number("unclipped", rows.iter().map(|row| row.scored.mean()).collect());
    }
    if rows.iter().any(|row| row.scored.design == Design::TrainingRuns) {
        let crossed: Vec<_> = rows.iter().map(|row| row.scored.crossed()).collect();
        let training = crossed.iter().map(|of| of.and_then(|of| of.training_std_error));
        table.number("training_se", training.collect());
        let evaluation = crossed.iter().map(|of| of.and_then(|of| of.evaluation_std_error));
        table.number("evaluation_se", evaluation.collect());
    }
}

/// Returns the difference from the rollouts as a share of their score.
fn relative(row: &Row<'_>) -> Option<f64> {
    let difference = row.vs_rollouts?.estimate;
    difference.interval?;
    let base = row.scored.mean()? - difference.mean;
    (base > 0.0).then(|| difference.mean / base)
}

/// Returns the share of a condition's prompts and seeds for which `is` holds.
fn share(condition: &Condition<'_>, is: impl Fn(&CellRecord, &str) -> bool) -> Option<f64> {
    let all: usize = condition.cells.iter().map(|cell| cell.prompts.len()).sum();
    let of_cell =
        |cell: &&CellRecord| cell.prompts.iter().filter(|prompt| is(cell, prompt.as_str())).count();
    let part: usize = condition.cells.iter().map(of_cell).sum();
    (all > 0).then(|| part as f64 / all as f64)
}

/// Groups rows with comparable scores: of the same benchmark, grader and judge.
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
        if rows[i].condition.is_baseline() {
            continue;
        }
        let baseline = rows.iter().position(|other| {
            other.condition.is_baseline() && rows[i].condition.shares_groups(&other.condition)
        });
        rows[i].vs_single = baseline.and_then(|other| rows[i].scored.against(&rows[other].scored));
    }
    let p_value = |row: &Row<'_>| row.vs_single.and_then(|delta| delta.p_value);
    for family in families {
        let compared: Vec<usize> = family
            .iter()
            .copied()
            .filter(|&i| !rows[i].condition.is_upper_bound() && p_value(&rows[i]).is_some())
            .collect();
        let p_values: Vec<f64> = compared.iter().filter_map(|&i| p_value(&rows[i])).collect();
        for (&i, adjusted) in compared.iter().zip(holm(&p_values)) {
            rows[i].p_holm = Some(adjusted);
        }
    }
}
