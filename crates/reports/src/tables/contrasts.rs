//! `contrasts`: the comparisons that a manifest or a suite declares, and no others.
//!
//! - `a_score` and `b_score` are the two means, `difference` that of `a` less `b` with its 95% interval.
//!   They are paired by prompt, seeds averaged first, over the seeds and prompts that both have; where
//!   policies are trained, over training runs and prompts, crossed.
//! - `relative` is the difference as a share of `b_score`, as the paper states gains.
//! - `p` is of the paired test, `p_holm` adjusted over all contrasts of the table.
//! - `wins`, `losses`, `ties`: prompts on which `a` is better, `b` is better, or both are equal.
//! - `note` says why a number is missing.

use preceptor_core::contrast::{ContrastMetric, ContrastRecord, INITIAL, ROLLOUTS};
use preceptor_stats::{Caution, Contrast, Estimate, holm};

use crate::condition::{Condition, select_condition};
use crate::condition_scores::{ConditionScores, Moment};
use crate::evidence::Evidence;
use crate::label::selection_label;
use crate::table::Table;

/// A declared contrast with its result.
pub(crate) struct ContrastRow {
    /// The experiment, where the table has several.
    pub(crate) experiment: String,
    record: ContrastRecord,
    means: [Option<f64>; 2],
    found: Option<Contrast>,
    note: &'static str,
}

impl ContrastRow {
    /// Returns the difference as a share of the second side.
    fn relative(&self) -> Option<f64> {
        let base = self.means[1].filter(|base| *base > 0.0)?;
        Some(self.found?.estimate.mean / base)
    }
}

pub(super) fn contrasts(evidence: &Evidence) -> Table {
    contrasts_table(&contrast_rows(evidence, &evidence.plan.contrasts))
}

/// Returns the result of each declared contrast of one experiment.
pub(crate) fn contrast_rows(evidence: &Evidence, declared: &[ContrastRecord]) -> Vec<ContrastRow> {
    let row = |record: &ContrastRecord| {
        let sides = sides(evidence, record);
        let (means, found, note) = match sides {
            None => ([None, None], None, "not part of this run"),
            Some([a, b]) => {
                let found = a.against(&b);
                let caution = found.and_then(|found| found.caution).map(Caution::name);
                let note =
                    if found.is_none() { "no score in common" } else { caution.unwrap_or("") };
                ([a.mean(), b.mean()], found, note)
            }
        };
        let experiment = evidence.plan.experiment.clone();
        ContrastRow { experiment, record: record.clone(), means, found, note }
    };
    declared.iter().map(row).collect()
}

/// Returns both sides of a contrast; none where the run lacks one.
fn sides(evidence: &Evidence, record: &ContrastRecord) -> Option<[ConditionScores; 2]> {
    let conditions = evidence.conditions();
    let select = |selection: &str| select_condition(&conditions, selection).ok();
    let a = select(&record.a)?;
    let split = record.split();
    let moment = record.step.map_or(Moment::Final, Moment::Step);
    let scored = |condition: &Condition<'_>| match record.metric {
        ContrastMetric::Score => Some(evidence.estimate_scores(condition)),
        ContrastMetric::Policy => evidence.policy_scores(condition, split, moment),
    };
    let b = match record.b.as_str() {
        ROLLOUTS => evidence.rollout_scores(&a),
        INITIAL => evidence.policy_scores(&a, split, Moment::Step(0))?,
        selection => scored(&select(selection)?)?,
    };
    Some([scored(&a)?, b])
}

/// Returns the table of contrasts, which are one family of tests.
pub(crate) fn contrasts_table(rows: &[ContrastRow]) -> Table {
    let caption = "Declared comparisons, paired by prompt and, for trained policies, by training run; \
                   `p holm` is adjusted over this table";
    let mut table = Table::new("contrasts", caption);
    let texts = |of: &dyn Fn(&ContrastRow) -> String| rows.iter().map(of).collect::<Vec<_>>();
    if rows.iter().any(|row| row.experiment != rows[0].experiment) {
        table.text("experiment", texts(&|row| row.experiment.clone()));
    }
    table.text("contrast", texts(&|row| row.record.name.clone()));
    table.text("metric", texts(&|row| metric_name(&row.record)));
    table.text("a", texts(&|row| selection_label(&row.record.a)));
    table.text("b", texts(&|row| side_name(&row.record)));
    let mean = |side: usize| rows.iter().map(|row| row.means[side]).collect::<Vec<_>>();
    table.number("a_score", mean(0));
    table.number("b_score", mean(1));
    let estimates: Vec<Option<Estimate>> =
        rows.iter().map(|row| row.found.map(|found| found.estimate)).collect();
    table.estimates(["difference", "low", "high"], &estimates);
    table.number("relative", rows.iter().map(ContrastRow::relative).collect());
    let p_values: Vec<Option<f64>> =
        rows.iter().map(|row| row.found.and_then(|found| found.p_value)).collect();
    let mut adjusted = holm(&p_values.iter().copied().flatten().collect::<Vec<_>>()).into_iter();
    let p_holm = p_values.iter().map(|p| p.and_then(|_| adjusted.next())).collect();
    table.number("p", p_values);
    table.number("p_holm", p_holm);
    let count = |of: &dyn Fn(&Contrast) -> usize| {
        rows.iter().map(|row| row.found.as_ref().map_or(0, of) as u64).collect::<Vec<_>>()
    };
    table.count("wins", count(&|found| found.wins_losses_ties[0]));
    table.count("losses", count(&|found| found.wins_losses_ties[1]));
    table.count("ties", count(&|found| found.wins_losses_ties[2]));
    table.count("prompts", count(&|found| found.estimate.num_clusters));
    table.count("seeds", count(&|found| found.num_runs));
    table.notes(rows.iter().map(|row| row.note).collect());
    table
}

fn metric_name(record: &ContrastRecord) -> String {
    match record.metric {
        ContrastMetric::Score => "score".to_owned(),
        ContrastMetric::Policy => {
            let split = record.split();
            let step = record.step.map_or_else(String::new, |step| format!(", step {step}"));
            format!("policy on {split}{step}")
        }
    }
}

/// Names the second side or its baseline.
fn side_name(record: &ContrastRecord) -> String {
    match record.b.as_str() {
        ROLLOUTS => "mean of its own rollouts".to_owned(),
        INITIAL => "the initial policy".to_owned(),
        selection => selection_label(selection),
    }
}
