//! `regrade`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_experiment::{RunOptions, ValueChange};
use preceptor_models::GenerationOptions;
use preceptor_reports::ReportOptions;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Output, or_dash};
use crate::session::{finish, open, run_plan, write_report};
use crate::shared_arguments::ExperimentArguments;

#[derive(Debug, Args)]
pub(crate) struct RegradeArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// Also write the report into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) reports: Option<PathBuf>,
}

pub(crate) fn regrade(arguments: &RegradeArguments, output: &Output) -> Result<ExitCode, Failure> {
    let options = GenerationOptions::default();
    let mut before = arguments.experiment.clone();
    before.settings.clear();
    let before = open(&before, options)?.plan;
    let mut session = open(&arguments.experiment, options)?;
    let summary =
        run_plan(&mut session, RunOptions { only_stored_rollouts: true, ..RunOptions::default() })?;
    let moved = preceptor_experiment::regraded(&before, &session.plan, &session.store)?;
    let report = match &arguments.reports {
        Some(folder) => Some(write_report(&session, folder, ReportOptions::default())?),
        None => None,
    };
    let as_json = |moved: &ValueChange| {
        json!({"compared": moved.num_compared, "changed": moved.num_changed,
               "mean-before": moved.mean_before, "mean-after": moved.mean_after})
    };
    output.json(&json!({
        "rollout-scores": as_json(&moved.rollout_scores),
        "scores": as_json(&moved.scores),
        "rewards": as_json(&moved.rewards),
        "flipped-advantages": moved.num_flipped_advantages,
        "report": report,
        "failed-records": summary.num_failed,
    }));
    let rows: Vec<_> = [
        ("scores of rollouts", moved.rollout_scores),
        ("scores of pseudo-references", moved.scores),
        ("rewards", moved.rewards),
    ]
    .iter()
    .map(|(name, moved)| {
        vec![
            (*name).to_owned(),
            moved.num_compared.to_string(),
            moved.num_changed.to_string(),
            or_dash((moved.num_compared > 0).then_some(moved.mean_before)),
            or_dash((moved.num_compared > 0).then_some(moved.mean_after)),
        ]
    })
    .collect();
    output.table(&["", "compared", "changed", "mean before", "mean after"], &rows);
    if moved.rewards.num_compared > 0 {
        let flipped = moved.num_flipped_advantages;
        output.text(format!("{flipped} advantages changed sign"));
    }
    finish(&summary, output)
}
