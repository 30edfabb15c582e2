//! The tables of a report, one file each.

mod audit;
mod breakdown;
mod contrasts;
mod costs;
mod disagreement;
mod failures;
mod healthbench;
mod hyperparameters;
mod measures;
mod reward_correlation;
mod rewarded;
mod rewards;
mod rollouts;
mod score_row;
mod scores;
mod spending;
mod standing;
mod structure;
mod training;
mod written;

pub(crate) use contrasts::{contrast_rows, contrasts_table};

use crate::evidence::Evidence;
use crate::table::Table;

/// Returns every table, in the order of the page.
pub(crate) fn all(evidence: &Evidence) -> Vec<Table> {
    vec![
        scores::scores(evidence),
        contrasts::contrasts(evidence),
        training::training_scores(evidence),
        healthbench::healthbench(evidence),
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
        training::training_steps(evidence),
        failures::failures(evidence),
        hyperparameters::hyperparameters(evidence),
    ]
}
