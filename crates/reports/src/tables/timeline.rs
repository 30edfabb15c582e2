//! `step_timeline`: who worked when in a typical step of each training run with rollout servers, the one of median
//! duration.

use preceptor_core::record::{TimelineRecord, TrainCostRecord};

use super::training::{identify_trained, trained, training_of};
use crate::condition::Condition;
use crate::evidence::Evidence;
use crate::table::Table;

struct Row<'a> {
    condition: Condition<'a>,
    /// Number of the training run, from 1.
    run: u64,
    seed: u64,
    step: u64,
    span: &'a TimelineRecord,
}

fn duration(cost: &TrainCostRecord) -> f64 {
    cost.timeline.iter().map(|span| span.to).fold(0.0, f64::max)
}

pub(crate) fn step_timeline(evidence: &Evidence) -> Table {
    let mut rows = Vec::new();
    let mut num_runs = 0;
    for condition in trained(evidence) {
        for cell in &condition.cells {
            let costs = evidence.step_costs(training_of(cell));
            let mut served: Vec<_> = costs
                .filter(|cost| !cost.servers.is_empty() && !cost.timeline.is_empty())
                .collect();
            served.sort_by(|a, b| duration(a).total_cmp(&duration(b)));
            let Some(typical) = served.get(served.len() / 2) else { continue };
            num_runs += 1;
            rows.extend(typical.timeline.iter().map(|span| Row {
                condition: condition.clone(),
                run: num_runs,
                seed: cell.seed,
                step: typical.step,
                span,
            }));
        }
    }
    let caption = "Work of the trainer and of the rollout servers in a step of median duration";
    let mut table = Table::new("step_timeline", caption);
    let conditions: Vec<_> = rows.iter().map(|row| &row.condition).collect();
    identify_trained(&mut table, evidence, &conditions);
    table.count("run", rows.iter().map(|row| row.run).collect());
    table.count("seed", rows.iter().map(|row| row.seed).collect());
    table.count("step", rows.iter().map(|row| row.step).collect());
    table.text("actor", rows.iter().map(|row| row.span.actor.clone()).collect());
    table.text("phase", rows.iter().map(|row| row.span.phase.clone()).collect());
    table.number("from_secs", rows.iter().map(|row| Some(row.span.from)).collect());
    table.number("to_secs", rows.iter().map(|row| Some(row.span.to)).collect());
    table
}
