//! Tables about training, for cells whose policy is trained. Cells that share a training are one row.
//!
//! - `training_scores`: the policy's score before, on the way and after, on each split. `score` with its
//!   95 % interval is over prompts, as in `scores`; `lowest` and `highest` are the seeds' own scores.
//!   `gain` is the difference to the initial policy with a 95 % t interval over *seeds*: each is a
//!   training of its own, and there are few. `p_holm` (paired t test over seeds, adjusted over the rows
//!   of the last step of a split) is there from two seeds on.
//! - `training_steps`: what was measured in each step, as means over seeds with the lowest and highest.
//! - `training_costs`: seconds a step by phase, and tokens, as means over steps and seeds.

use std::collections::BTreeMap;

use preceptor_core::record::rollout_key;
use preceptor_core::record::{CellRecord, EvaluationRecord, STEP_MEASURES, TrainingRecord};
use preceptor_stats::{Estimate, clustered_mean, holm, paired_difference, score_estimate};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

/// The column of a training's name.
pub(crate) const TRAINED_ON: &str = "trained_on";

/// What a condition is trained on, for people: its reward, or where that follows the pseudo-reference,
/// its aggregator.
fn trained_on(condition: &Condition<'_>, training: &TrainingRecord) -> String {
    let reward = condition.reward();
    let aggregator = condition.agreed(|cell| cell.aggregator.clone());
    match (training.uses_references, reward.as_str()) {
        (false, _) => reward,
        (true, "" | "answer-match") => aggregator,
        (true, _) => format!("{aggregator}, {reward}"),
    }
}

fn training_of(cell: &CellRecord) -> &TrainingRecord {
    cell.training.as_ref().expect("conditions here are trained")
}

/// The trained conditions, those that share their trainings once.
fn trained<'a>(evidence: &'a Evidence) -> Vec<Condition<'a>> {
    let mut distinct: Vec<Condition<'a>> = Vec::new();
    let key = |condition: &Condition<'_>| -> Vec<_> {
        condition.cells.iter().map(|cell| training_of(cell).steps.clone()).collect()
    };
    for condition in evidence.conditions() {
        let is_trained = condition.cells.iter().all(|cell| cell.training.is_some());
        if is_trained && distinct.iter().all(|known| key(known) != key(&condition)) {
            distinct.push(condition);
        }
    }
    distinct
}

/// The evaluation of a cell after some steps on a split.
fn evaluation<'a>(cell: &'a CellRecord, step: u64, split: &str) -> Option<&'a EvaluationRecord> {
    let mut known = training_of(cell).evaluations.iter();
    known.find(|evaluation| evaluation.step == step && evaluation.split == split)
}

/// The scores of an evaluation by prompt, rollouts averaged; none where it was not made.
fn scores(evidence: &Evidence, evaluation: &EvaluationRecord) -> Option<Vec<Option<f64>>> {
    let grades = evidence.grades_of(&evaluation.rollout_grades);
    let mut of_prompts = Vec::new();
    for prompt in &evaluation.prompts {
        let mut scored = Vec::new();
        for index in 0..evaluation.num_rollouts {
            scored.extend(grades.get(&rollout_key(prompt, index))?.score.value());
        }
        let mean = scored.iter().sum::<f64>() / scored.len().max(1) as f64;
        of_prompts.push((!scored.is_empty()).then_some(mean));
    }
    Some(of_prompts)
}

fn mean(scores: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = scores.iter().copied().flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The policy's mean score on a split after the last step that was evaluated (a training may stop
/// early), or before the first; none where a cell's policy was not evaluated there.
pub(crate) fn final_scores(
    evidence: &Evidence,
    cell: &CellRecord,
    split: &str,
    is_trained: bool,
) -> Option<f64> {
    let of_split = cell.training.as_ref()?.evaluations.iter();
    let wanted = of_split.filter(|known| known.split == split && (known.step > 0) == is_trained);
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_by_key(|known| std::cmp::Reverse(known.step));
    mean(&wanted.into_iter().find_map(|known| scores(evidence, known))?)
}

struct ScoreRow<'a> {
    condition: Condition<'a>,
    split: String,
    step: u64,
    is_last: bool,
    score: Option<Estimate>,
    seeds: Vec<f64>,
    gain: Option<Estimate>,
    p: Option<f64>,
    p_holm: Option<f64>,
    num_prompts: usize,
}

pub(crate) fn training_scores(evidence: &Evidence) -> Table {
    let mut rows: Vec<ScoreRow<'_>> = Vec::new();
    for condition in trained(evidence) {
        let evaluations = &training_of(condition.cell).evaluations;
        let mut splits: Vec<&str> = Vec::new();
        for known in evaluations {
            if !splits.contains(&known.split.as_str()) {
                splits.push(&known.split);
            }
        }
        for split in splits {
            let mut of_split: Vec<ScoreRow<'_>> = Vec::new();
            for known in evaluations.iter().filter(|known| known.split == split) {
                of_split.extend(score_row(evidence, &condition, split, known.step));
            }
            if let Some(last) = of_split.last_mut() {
                last.is_last = last.step > 0;
            }
            rows.extend(of_split);
        }
    }
    let splits: Vec<String> = rows.iter().map(|row| row.split.clone()).collect();
    for split in splits {
        let tested: Vec<usize> = (0..rows.len())
            .filter(|&row| rows[row].is_last && rows[row].split == split && rows[row].p.is_some())
            .collect();
        let adjusted = holm(&tested.iter().filter_map(|&row| rows[row].p).collect::<Vec<_>>());
        for (row, p) in tested.into_iter().zip(adjusted) {
            rows[row].p_holm = Some(p);
        }
    }

    let caption = "Score of the policy before, while and after it is trained; intervals of the score \
                   are over prompts, of the gain over seeds";
    let mut table = Table::new("training_scores", caption);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    let named = |row: &ScoreRow<'_>| trained_on(&row.condition, training_of(row.condition.cell));
    table.text(TRAINED_ON, rows.iter().map(named).collect());
    table.text("split", rows.iter().map(|row| row.split.clone()).collect());
    table.count("step", rows.iter().map(|row| row.step).collect());
    let scores: Vec<_> = rows.iter().map(|row| row.score).collect();
    table.estimates(["score", "low", "high"], &scores);
    let fold =
        |row: &ScoreRow<'_>, pick: fn(f64, f64) -> f64| row.seeds.iter().copied().reduce(pick);
    table.number("lowest", rows.iter().map(|row| fold(row, f64::min)).collect());
    table.number("highest", rows.iter().map(|row| fold(row, f64::max)).collect());
    let gains: Vec<_> = rows.iter().map(|row| row.gain).collect();
    table.estimates(["gain", "gain_low", "gain_high"], &gains);
    table.number("p_holm", rows.iter().map(|row| row.p_holm).collect());
    let bound = |row: &ScoreRow<'_>| row.condition.sees_labels();
    table.text("sees_labels", rows.iter().map(bound).collect());
    table.count("prompts", rows.iter().map(|row| row.num_prompts as u64).collect());
    table.count("seeds", rows.iter().map(|row| row.seeds.len() as u64).collect());
    table
}

fn score_row<'a>(
    evidence: &Evidence,
    condition: &Condition<'a>,
    split: &str,
    step: u64,
) -> Option<ScoreRow<'a>> {
    let of = |cell: &CellRecord, step| scores(evidence, evaluation(cell, step, split)?);
    let mut by_prompt: Vec<Vec<f64>> = Vec::new();
    let (mut seeds, mut before) = (Vec::new(), Vec::new());
    for cell in &condition.cells {
        let Some(now) = of(cell, step) else { continue };
        by_prompt.resize(now.len(), Vec::new());
        for (cluster, score) in by_prompt.iter_mut().zip(&now) {
            cluster.extend(score);
        }
        let first = of(cell, 0).and_then(|scores| mean(&scores));
        if let (Some(now), Some(first)) = (mean(&now), first) {
            seeds.push(now);
            before.push(first);
        }
    }
    if seeds.is_empty() {
        return None;
    }
    let is_rubric = evidence.has_rubric(condition.cell);
    let gains: Vec<Vec<f64>> =
        seeds.iter().zip(&before).map(|(now, first)| vec![now - first]).collect();
    let singles = |numbers: &[f64]| numbers.iter().map(|number| vec![*number]).collect::<Vec<_>>();
    let test = paired_difference(&singles(&seeds), &singles(&before));
    Some(ScoreRow {
        condition: condition.clone(),
        split: split.to_owned(),
        step,
        is_last: false,
        score: score_estimate(is_rubric, &by_prompt),
        gain: clustered_mean(&gains).filter(|_| step > 0),
        p: test.and_then(|test| test.p_value).filter(|_| step > 0 && seeds.len() > 1),
        p_holm: None,
        num_prompts: by_prompt.len(),
        seeds,
    })
}

pub(crate) fn training_steps(evidence: &Evidence) -> Table {
    struct Row<'a> {
        condition: Condition<'a>,
        measure: &'static str,
        step: u64,
        seeds: Vec<f64>,
    }
    let mut rows = Vec::new();
    for condition in trained(evidence) {
        let num_steps = training_of(condition.cell).num_steps;
        for (measure, _) in STEP_MEASURES {
            for step in 1..=num_steps {
                let of = |cell: &&CellRecord| {
                    evidence.step(training_of(cell), step)?.measures.get(*measure).copied()
                };
                let seeds: Vec<f64> = condition.cells.iter().filter_map(of).collect();
                if !seeds.is_empty() {
                    rows.push(Row { condition: condition.clone(), measure, step, seeds });
                }
            }
        }
    }
    let caption = "What was measured in each step of training: mean, lowest and highest over seeds";
    let mut table = Table::new("training_steps", caption);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    let named = |row: &Row<'_>| trained_on(&row.condition, training_of(row.condition.cell));
    table.text(TRAINED_ON, rows.iter().map(named).collect());
    table.text("measure", rows.iter().map(|row| row.measure.to_owned()).collect());
    table.count("step", rows.iter().map(|row| row.step).collect());
    let mean = |row: &Row<'_>| row.seeds.iter().sum::<f64>() / row.seeds.len() as f64;
    table.number("mean", rows.iter().map(|row| Some(mean(row))).collect());
    let fold = |row: &Row<'_>, pick: fn(f64, f64) -> f64| row.seeds.iter().copied().reduce(pick);
    table.number("lowest", rows.iter().map(|row| fold(row, f64::min)).collect());
    table.number("highest", rows.iter().map(|row| fold(row, f64::max)).collect());
    table.count("seeds", rows.iter().map(|row| row.seeds.len() as u64).collect());
    table
}

pub(crate) fn training_costs(evidence: &Evidence) -> Table {
    struct Row<'a> {
        condition: Condition<'a>,
        phase: String,
        seconds: f64,
    }
    let mut rows = Vec::new();
    let mut tokens: Vec<f64> = Vec::new();
    for condition in trained(evidence) {
        let costs: Vec<_> = condition
            .cells
            .iter()
            .flat_map(|cell| evidence.step_costs(training_of(cell)))
            .collect();
        let count = costs.len() as f64;
        let mut phases: BTreeMap<&str, f64> = BTreeMap::new();
        for (phase, seconds) in costs.iter().flat_map(|cost| &cost.seconds) {
            *phases.entry(phase).or_default() += seconds / count;
        }
        let sampled: u64 = costs.iter().map(|cost| cost.usage.num_generated_tokens).sum();
        for (phase, seconds) in phases {
            rows.push(Row { condition: condition.clone(), phase: phase.to_owned(), seconds });
            tokens.push(sampled as f64 / count);
        }
    }
    let caption = "Seconds of a step of training by phase, and tokens that it samples, as means over \
                   steps and seeds on the machine that ran it";
    let mut table = Table::new("training_costs", caption);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    let named = |row: &Row<'_>| trained_on(&row.condition, training_of(row.condition.cell));
    table.text(TRAINED_ON, rows.iter().map(named).collect());
    table.text("phase", rows.iter().map(|row| row.phase.clone()).collect());
    table.number("seconds_a_step", rows.iter().map(|row| Some(row.seconds)).collect());
    table.number("tokens_a_step", tokens.into_iter().map(Some).collect());
    table
}
