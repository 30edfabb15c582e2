//! `cost_and_quality`: the score of each condition beside the cost of its estimates, its rollouts
//! included; the cost of the condition alone.
//!
//! - `tokens_per_prompt`: prompt and generated tokens of the rollouts and of the aggregator's own calls, per
//!   prompt and seed. Rewards and grading are not part of an estimate.
//! - `seconds_per_prompt`, `usd_per_prompt`: the same in time and USD, as the runs recorded them; missing where
//!   the aggregator's calls were not recorded. Columns without any value are left out.

use preceptor_core::Usage;
use preceptor_core::record::{CellRecord, CostRecord};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

/// Cost of a condition's estimates, all seeds together.
#[derive(Clone, Copy, Default)]
struct Cost {
    tokens: u64,
    /// None where a part of it was not recorded.
    seconds: Option<f64>,
    usd: Option<f64>,
}

pub(crate) fn cost_and_quality(evidence: &Evidence) -> Table {
    let conditions = evidence.scored();
    let rows: Vec<&Condition<'_>> = conditions.iter().collect();
    let scored: Vec<_> = rows.iter().map(|row| evidence.estimate_scores(row)).collect();
    let caption = "Score and cost of estimates, rollouts included, per prompt";
    let mut table = Table::new("cost_and_quality", caption);
    identify(&mut table, evidence, &rows);
    let estimates: Vec<_> = scored.iter().map(|of| of.estimate()).collect();
    table.estimates(["score", "low", "high"], &estimates);
    let per_prompt = |of: fn(&Cost) -> Option<f64>| {
        let one = |row: &&Condition<'_>| {
            let count: usize = row.cells.iter().map(|cell| cell.prompts.len()).sum();
            (count > 0).then(|| Some(of(&cost(evidence, row))? / count as f64)).flatten()
        };
        rows.iter().map(one).collect::<Vec<_>>()
    };
    table.number("tokens_per_prompt", per_prompt(|cost| Some(cost.tokens as f64)));
    table.number("seconds_per_prompt", per_prompt(|cost| cost.seconds));
    table.number("usd_per_prompt", per_prompt(|cost| cost.usd));
    table.drop_empty(&["seconds_per_prompt", "usd_per_prompt"]);
    table.text("sees_labels", rows.iter().map(|row| row.sees_labels()).collect());
    table.count("prompts", scored.iter().map(|of| of.prompts.len() as u64).collect());
    table.count("seeds", scored.iter().map(|of| of.seeds.len() as u64).collect());
    table
}

fn cost(evidence: &Evidence, condition: &Condition<'_>) -> Cost {
    let zero = Cost { tokens: 0, seconds: Some(0.0), usd: Some(0.0) };
    let total =
        condition.cells.iter().map(|cell| cell_cost(evidence, cell)).fold(zero, |sum, of| Cost {
            tokens: sum.tokens + of.tokens,
            seconds: sum.seconds.zip(of.seconds).map(|(a, b)| a + b),
            usd: sum.usd.zip(of.usd).map(|(a, b)| a + b),
        });
    let some = |value: Option<f64>| value.filter(|value| *value > 0.0);
    Cost { seconds: some(total.seconds), usd: some(total.usd), ..total }
}

fn cell_cost(evidence: &Evidence, cell: &CellRecord) -> Cost {
    let rollouts = evidence.cell_cost(cell);
    let mut usage = Usage::default();
    for prompt in &cell.prompts {
        let facts = evidence.aggregate(cell, prompt.as_str());
        usage += facts.map(|facts| facts.usage).unwrap_or_default();
    }
    let called = usage.num_prompt_tokens + usage.num_generated_tokens;
    let noted = evidence.stage_cost(&cell.stages.aggregates);
    let part = |of: fn(&CostRecord) -> f64| match (called, of(noted)) {
        (0, _) => Some(of(&rollouts)),
        (_, noted) if noted > 0.0 => Some(of(&rollouts) + noted),
        _ => None,
    };
    let sampled = rollouts.num_prompt_tokens + rollouts.num_generated_tokens;
    Cost {
        tokens: sampled + called,
        seconds: part(|cost| cost.wall_secs),
        usd: part(|cost| cost.cost_usd),
    }
}
