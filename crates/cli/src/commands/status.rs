//! `status`.

use std::process::ExitCode;

use preceptor_experiment::{CellState, CellStatus, StageState};
use preceptor_models::GenerationOptions;
use preceptor_store::Holder;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::session::open;
use crate::shared_arguments::ExperimentArguments;

fn holder_json(holder: &Holder) -> Value {
    json!({
        "host": holder.host, "pid": holder.pid, "since": holder.since,
        "heartbeat-secs": holder.heartbeat_secs, "expires-after-secs": holder.expires_after_secs,
    })
}

/// Names the process that works on a cell, with the age of its heartbeat.
fn shown_holder(holder: &Holder) -> String {
    let Holder { host, pid, heartbeat_secs, expires_after_secs, .. } = holder;
    match heartbeat_secs {
        Some(secs) if secs > expires_after_secs => {
            format!("{host}:{pid}, no heartbeat for {secs:.0} s")
        }
        Some(secs) => format!("{host}:{pid}, heartbeat {secs:.0} s ago"),
        None => format!("{host}:{pid}"),
    }
}

pub(crate) fn status(
    arguments: &ExperimentArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let session = open(arguments, GenerationOptions::default())?;
    let cells = preceptor_experiment::status(&session.plan, &session.store)?;
    let counts = CellState::ALL
        .map(|state| (state.name(), cells.iter().filter(|cell| cell.state == state).count()));
    let full =
        |state: StageState| json!({"present": state.num_present, "wanted": state.num_wanted});
    let cell_json = |cell: &CellStatus| {
        json!({
            "label": cell.label, "state": cell.state.name(), "rollouts": full(cell.rollouts),
            "grades": full(cell.grades), "rewards": cell.rewards.map(full),
            "steps": cell.steps.map(full), "failed-records": cell.num_failed,
            "held-by": cell.holder.as_ref().map(holder_json),
        })
    };
    let mut value = json!({"cells": cells.iter().map(cell_json).collect::<Vec<_>>()});
    for (name, count) in counts {
        value[name] = json!(count);
    }
    output.json(&value);
    let shown = |state: StageState| format!("{}/{}", state.num_present, state.num_wanted);
    let row = |cell: &CellStatus| {
        vec![
            cell.state.name().to_owned(),
            shown(cell.rollouts),
            shown(cell.grades),
            cell.rewards.map_or_else(|| "-".to_owned(), shown),
            cell.steps.map_or_else(|| "-".to_owned(), shown),
            cell.num_failed.to_string(),
            cell.holder.as_ref().map_or_else(|| "-".to_owned(), shown_holder),
            cell.label.clone(),
        ]
    };
    let rows: Vec<_> = cells.iter().map(row).collect();
    let header =
        ["state", "rollouts", "grades", "rewards", "steps", "failed records", "held by", "cell"];
    output.table(&header, &rows);
    output.text(counts.map(|(name, count)| format!("{count} {name}")).join(", "));
    Ok(ExitCode::SUCCESS)
}
