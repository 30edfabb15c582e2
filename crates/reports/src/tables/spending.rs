//! `spending`: tokens, time and USD that runs of this experiment used, by role. Rows add up to the
//! last one.
//!
//! - `rollouts` is the sampling of rollouts. `training` is sampling in training steps: its `calls` are the
//!   steps, and its `seconds` are those recorded by the steps of this plan. `anchor`, `judge`, `policy` (as its
//!   own selector) and `eval-judge` are further calls. A call that several conditions or stages share is
//!   counted once; one that an earlier experiment made is not counted here.
//! - `calls`, `prompt_tokens`, `generated_tokens`, `seconds` of wall-clock time, and `cost_usd` by the
//!   prices of the endpoints.
//!
//! The table is left out for runs of earlier versions, which recorded no spending. `costs` lists the tokens
//! behind each stage; its rows share calls and must not be added up.

use preceptor_core::ModelRole;
use preceptor_core::record::CostRecord;

use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn spending(evidence: &Evidence) -> Table {
    let mut rows: Vec<(String, CostRecord)> = evidence
        .spending()
        .filter(|(_, cost)| cost.num_records > 0)
        .map(|(role, cost)| (role.name().to_owned(), cost.clone()))
        .collect();
    let caption = "Calls, tokens, time and cost of the runs of this experiment, by role; shared calls are counted once";
    let mut table = Table::new("spending", caption);
    if rows.is_empty() {
        return table;
    }
    for (role, cost) in &mut rows {
        if role == ModelRole::Training.name() {
            cost.wall_secs += evidence.training_seconds();
        }
    }
    let mut total = CostRecord::default();
    for (_, cost) in &rows {
        total.num_records += cost.num_records;
        total.num_prompt_tokens += cost.num_prompt_tokens;
        total.num_generated_tokens += cost.num_generated_tokens;
        total.wall_secs += cost.wall_secs;
        total.cost_usd += cost.cost_usd;
    }
    rows.push(("total".to_owned(), total));
    let counts = |of: fn(&CostRecord) -> u64| rows.iter().map(|(_, cost)| of(cost)).collect();
    let numbers =
        |of: fn(&CostRecord) -> f64| rows.iter().map(|(_, cost)| Some(of(cost))).collect();
    table.text("role", rows.iter().map(|(role, _)| role.clone()).collect());
    table.count("calls", counts(|cost| cost.num_records));
    table.count("prompt_tokens", counts(|cost| cost.num_prompt_tokens));
    table.count("generated_tokens", counts(|cost| cost.num_generated_tokens));
    table.number("seconds", numbers(|cost| cost.wall_secs));
    table.number("cost_usd", numbers(|cost| cost.cost_usd));
    table
}
