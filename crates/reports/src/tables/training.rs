//! Tables about training, for cells whose policy is trained. Cells that share a training run are one row.
//!
//! - `training_scores`: the policy's score before, during and after training, on each split. `score` with its
//!   95% interval is over training runs (`seeds`) and prompts, crossed; `training_se` and `evaluation_se` are
//!   the parts of its standard error, and their squares add up. `lowest` and `highest` are the seeds' own
//!   scores. `gain` is the difference to the initial policy, paired by seed and prompt, with its interval over
//!   both, and `relative_gain` its share of that policy's score. `note` says why there is none, as for a single run.
//! - `coverage`, where it is not 1 throughout, is the share of prompts and seeds that have a score.
//! - Where early stopping chooses a step, a row without `step` has the policies of the steps that each seed
//!   chose (`chosen`, in the order of the seeds). `p_holm` (of the gain, adjusted over a split) is in that row,
//!   else in that of the last step.
//! - `training_steps`: the measures of each step, as means over seeds with the lowest and highest.
//! - `training_costs`: seconds per step by phase, and tokens, as means over steps and seeds.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, TrainingRecord};
use preceptor_core::{Split, StepMeasure};
use preceptor_stats::{Caution, Contrast, CrossedEstimate, Estimate, holm, mean};

use crate::condition::{Condition, TRAINED_ON, identify};
use crate::condition_scores::{ConditionScores, Moment};
use crate::evidence::Evidence;
use crate::table::Table;

pub(super) fn training_of(cell: &CellRecord) -> &TrainingRecord {
    cell.training.as_ref().expect("conditions here are trained")
}

/// Returns the trained conditions. Those that share their training runs are one.
pub(super) fn trained<'a>(evidence: &'a Evidence) -> Vec<Condition<'a>> {
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

/// Adds the columns that say which training each row is about.
pub(super) fn identify_trained(table: &mut Table, evidence: &Evidence, rows: &[&Condition<'_>]) {
    identify(table, evidence, rows);
    let name = |row: &&Condition<'_>| row.trained_on().expect("conditions here are trained");
    table.text(TRAINED_ON, rows.iter().map(name).collect());
}

struct ScoreRow<'a> {
    condition: Condition<'a>,
    split: Split,
    moment: Moment,
    /// True if it is the policy that is reported.
    is_result: bool,
    scored: ConditionScores,
    score: CrossedEstimate,
    /// The score of the initial policy.
    before: Option<f64>,
    gain: Option<Contrast>,
    p_holm: Option<f64>,
}

pub(crate) fn training_scores(evidence: &Evidence) -> Table {
    let mut rows: Vec<ScoreRow<'_>> = Vec::new();
    for condition in trained(evidence) {
        let evaluations = &training_of(condition.cell).evaluations;
        let mut splits: Vec<Split> = Vec::new();
        for known in evaluations {
            if !splits.contains(&known.split) {
                splits.push(known.split);
            }
        }
        for split in splits {
            let mut of_split: Vec<ScoreRow<'_>> = Vec::new();
            for known in evaluations.iter().filter(|known| known.split == split) {
                of_split.extend(score_row(evidence, &condition, split, Moment::Step(known.step)));
            }
            if condition.cells.iter().any(|cell| training_of(cell).choice.is_some()) {
                of_split.extend(score_row(evidence, &condition, split, Moment::Final));
            }
            if let Some(last) = of_split.last_mut() {
                last.is_result = last.moment != Moment::Step(0);
            }
            rows.extend(of_split);
        }
    }
    adjust(&mut rows);

    let caption = "Score of the policy before, during and after training, and its gain over the \
                   initial policy; intervals over training runs and prompts";
    let mut table = Table::new("training_scores", caption);
    let conditions: Vec<_> = rows.iter().map(|row| &row.condition).collect();
    identify_trained(&mut table, evidence, &conditions);
    table.text("split", rows.iter().map(|row| row.split.name().to_owned()).collect());
    let step = |row: &ScoreRow<'_>| match row.moment {
        Moment::Step(step) => Some(step),
        Moment::Final => None,
    };
    table.optional_count("step", rows.iter().map(step).collect());
    if rows.iter().any(|row| row.moment == Moment::Final) {
        table.text("chosen", rows.iter().map(|row| chosen_steps(evidence, row)).collect());
    }
    let scores: Vec<_> = rows.iter().map(|row| Some(row.score.estimate())).collect();
    table.estimates(["score", "low", "high"], &scores);
    table.number("training_se", rows.iter().map(|row| row.score.training_std_error).collect());
    let evaluation = rows.iter().map(|row| row.score.evaluation_std_error);
    table.number("evaluation_se", evaluation.collect());
    let fold =
        |row: &ScoreRow<'_>, pick: fn(f64, f64) -> f64| row.scored.means().into_iter().reduce(pick);
    table.number("lowest", rows.iter().map(|row| fold(row, f64::min)).collect());
    table.number("highest", rows.iter().map(|row| fold(row, f64::max)).collect());
    let gains: Vec<Option<Estimate>> =
        rows.iter().map(|row| row.gain.map(|gain| gain.estimate)).collect();
    table.estimates(["gain", "gain_low", "gain_high"], &gains);
    let relative = |row: &ScoreRow<'_>| row.gain.and_then(|gain| relative(row.before?, &gain));
    table.number("relative_gain", rows.iter().map(relative).collect());
    table.number("p_holm", rows.iter().map(|row| row.p_holm).collect());
    let bound = |row: &ScoreRow<'_>| row.condition.policy_sees_labels().to_owned();
    table.text("sees_labels", rows.iter().map(bound).collect());
    table.count("prompts", rows.iter().map(|row| row.scored.prompts.len() as u64).collect());
    table.count("seeds", rows.iter().map(|row| row.scored.seeds.len() as u64).collect());
    let coverage: Vec<_> = rows.iter().map(|row| row.scored.coverage()).collect();
    if coverage.iter().any(|coverage| *coverage < Some(1.0)) {
        table.number("coverage", coverage);
    }
    let note = |row: &ScoreRow<'_>| row.scored.caution().map_or("", Caution::name);
    table.notes(rows.iter().map(note).collect());
    table
}

/// Returns a gain as a share of the score before.
fn relative(before: f64, gain: &Contrast) -> Option<f64> {
    (before > 0.0).then(|| gain.estimate.mean / before)
}

/// Applies Holm's adjustment over the results of each split.
fn adjust(rows: &mut [ScoreRow<'_>]) {
    let p_value = |row: &ScoreRow<'_>| row.gain.and_then(|gain| gain.p_value);
    for i in 0..rows.len() {
        let family: Vec<usize> = (0..rows.len())
            .filter(|&other| rows[other].is_result && rows[other].split == rows[i].split)
            .filter(|&other| p_value(&rows[other]).is_some())
            .collect();
        let p_values: Vec<f64> = family.iter().filter_map(|&other| p_value(&rows[other])).collect();
        let place = family.iter().position(|&other| other == i);
        rows[i].p_holm = place.map(|place| holm(&p_values)[place]);
    }
}

/// Returns the steps that early stopping chose, in the order of the seeds; empty for a row of one
/// step.
fn chosen_steps(evidence: &Evidence, row: &ScoreRow<'_>) -> String {
    if row.moment != Moment::Final {
        return String::new();
    }
    let step = |cell: &&CellRecord| evidence.chosen_step(training_of(cell));
    let steps = row.condition.cells.iter().filter_map(step).map(|step| step.to_string());
    steps.collect::<Vec<_>>().join(" ")
}

fn score_row<'a>(
    evidence: &Evidence,
    condition: &Condition<'a>,
    split: Split,
    moment: Moment,
) -> Option<ScoreRow<'a>> {
    let scored = evidence.policy_scores(condition, split, moment)?;
    let before = evidence.policy_scores(condition, split, Moment::Step(0));
    let gain = before.filter(|_| moment != Moment::Step(0));
    Some(ScoreRow {
        condition: condition.clone(),
        split,
        moment,
        is_result: false,
        score: scored.crossed()?,
        before: gain.as_ref().and_then(ConditionScores::mean),
        gain: gain.and_then(|before| scored.against(&before)),
        p_holm: None,
        scored,
    })
}

pub(crate) fn training_steps(evidence: &Evidence) -> Table {
    struct Row<'a> {
        condition: Condition<'a>,
        measure: StepMeasure,
        step: u64,
        seeds: Vec<f64>,
    }
    let mut rows = Vec::new();
    for condition in trained(evidence) {
        let num_steps = training_of(condition.cell).num_steps;
        for &measure in StepMeasure::ALL {
            for step in 1..=num_steps {
                let of = |cell: &&CellRecord| {
                    evidence.step(training_of(cell), step)?.measures.get(&measure).copied()
                };
                let seeds: Vec<f64> = condition.cells.iter().filter_map(of).collect();
                if !seeds.is_empty() {
                    rows.push(Row { condition: condition.clone(), measure, step, seeds });
                }
            }
        }
    }
    let caption = "Measures of each training step: mean, lowest and highest over seeds";
    let mut table = Table::new("training_steps", caption);
    let conditions: Vec<_> = rows.iter().map(|row| &row.condition).collect();
    identify_trained(&mut table, evidence, &conditions);
    table.text("measure", rows.iter().map(|row| row.measure.name().to_owned()).collect());
    table.count("step", rows.iter().map(|row| row.step).collect());
    table.number("mean", rows.iter().map(|row| mean(&row.seeds)).collect());
    let fold = |row: &Row<'_>, pick: fn(f64, f64) -> f64| row.seeds.iter().copied().reduce(pick);
    table.number("lowest", rows.iter().map(|row| fold(row, f64::min)).collect());
    table.number("highest", rows.iter().map(|row| fold(row, f64::max)).collect());
    let bound = |row: &Row<'_>| row.condition.policy_sees_labels().to_owned();
    table.text("sees_labels", rows.iter().map(bound).collect());
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
    let caption = "Seconds per training step by phase, and sampled tokens per step, as means over \
                   steps and seeds on the machine that ran them";
    let mut table = Table::new("training_costs", caption);
    let conditions: Vec<_> = rows.iter().map(|row| &row.condition).collect();
    identify_trained(&mut table, evidence, &conditions);
    table.text("phase", rows.iter().map(|row| row.phase.clone()).collect());
    table.number("seconds_per_step", rows.iter().map(|row| Some(row.seconds)).collect());
    table.number("tokens_per_step", tokens.into_iter().map(Some).collect());
    table
}
