//! The tables of a report, one file each.

mod across_tasks;
mod audit;
mod breakdown;
mod contrasts;
mod cost_and_quality;
mod costs;
mod disagreement;
mod failures;
mod healthbench;
mod hyperparameters;
mod measures;
mod metrics;
mod reward_correlation;
mod rewarded;
mod rewards;
mod rollouts;
mod score_row;
mod scores;
mod spending;
mod standing;
mod structure;
mod timeline;
mod training;
mod worst_at_k;
mod written;

pub(crate) use contrasts::{contrast_rows, contrasts_table};
pub(crate) use metrics::metrics;

use crate::evidence::Evidence;
use crate::table::Table;

/// Returns every table, in the order of the page.
pub(crate) fn all(evidence: &Evidence) -> Vec<Table> {
    vec![
        scores::scores(evidence),
        contrasts::contrasts(evidence),
        across_tasks::across_tasks(evidence),
        cost_and_quality::cost_and_quality(evidence),
        training::training_scores(evidence),
        healthbench::healthbench(evidence),
        worst_at_k::worst_at_k(evidence),
        rollouts::rollouts(evidence),
        audit::audit(evidence),
        audit::audit_by_level(evidence),
        reward_correlation::reward_correlation(evidence),
        rewards::rewards(evidence),
        measures::reward_measures(evidence),
        disagreement::disagreement(evidence),
        written::written(evidence),
        structure::structure(evidence),
        breakdown::breakdown(evidence),
        measures::measures(evidence),
        spending::spending(evidence),
        costs::costs(evidence),
        training::training_costs(evidence),
        timeline::step_timeline(evidence),
        training::training_steps(evidence),
        failures::failures(evidence),
        hyperparameters::hyperparameters(evidence),
    ]
}
