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

use rayon::prelude::*;

use crate::evidence::Evidence;
use crate::table::Table;

/// Tables in the order of the page.
const TABLES: [fn(&Evidence) -> Table; 25] = [
    scores::scores,
    contrasts::contrasts,
    across_tasks::across_tasks,
    cost_and_quality::cost_and_quality,
    training::training_scores,
    healthbench::healthbench,
    worst_at_k::worst_at_k,
    rollouts::rollouts,
    audit::audit,
    audit::audit_by_level,
    reward_correlation::reward_correlation,
    rewards::rewards,
    measures::reward_measures,
    disagreement::disagreement,
    written::written,
    structure::structure,
    breakdown::breakdown,
    measures::measures,
    spending::spending,
    costs::costs,
    training::training_costs,
    timeline::step_timeline,
    training::training_steps,
    failures::failures,
    hyperparameters::hyperparameters,
];

/// Returns every table, in the order of the page. As many are made at once as there are cores.
pub(crate) fn all(evidence: &Evidence) -> Vec<Table> {
    TABLES.par_iter().with_max_len(1).map(|table| table(evidence)).collect()
}
