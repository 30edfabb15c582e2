//! `compare`.

use std::process::ExitCode;

use clap::Args;
use preceptor_models::GenerationOptions;
use preceptor_reports::format_p_value;
use preceptor_stats::{Caution, Design, Estimate};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Output, or_dash};
use crate::session::open;
use crate::shared_arguments::ExperimentArguments;

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The first condition: `AXIS=VALUE`, several with commas between, or the start of a cell's id.
    pub(crate) a: String,
    /// The second condition.
    pub(crate) b: String,
}

pub(crate) fn compare(arguments: &CompareArguments, output: &Output) -> Result<ExitCode, Failure> {
    let session = open(&arguments.experiment, GenerationOptions::default())?;
    let found =
        preceptor_experiment::compare(&session.plan, &session.store, &arguments.a, &arguments.b)?;
    let estimate = |estimate: Option<Estimate>| -> Value {
        let interval = estimate.and_then(|e| e.interval).map(|i| [i.low, i.high]);
        json!({"mean": estimate.map(|e| e.mean), "interval": interval})
    };
    let [wins, losses, ties] = found.difference.map_or([0; 3], |d| d.wins_losses_ties);
    let note = found.difference.and_then(|d| d.caution).map(Caution::name);
    output.json(&json!({
        "a": {"label": found.a.label, "score": estimate(found.a.mean),
              "scored": found.a.num_scored, "wanted": found.a.num_wanted},
        "b": {"label": found.b.label, "score": estimate(found.b.mean),
              "scored": found.b.num_scored, "wanted": found.b.num_wanted},
        "difference": estimate(found.difference.map(|d| d.estimate)),
        "p-value": found.difference.and_then(|d| d.p_value),
        "prompts": found.difference.map_or(0, |d| d.estimate.num_clusters),
        "seeds": found.difference.map_or(0, |d| d.num_runs), "note": note,
        "a-better": wins, "b-better": losses, "ties": ties,
    }));
    let row = |name: &str, label: &str, estimate: Option<Estimate>, scored: String| {
        let interval = estimate.and_then(|e| e.interval);
        vec![
            name.to_owned(),
            or_dash(estimate.map(|e| e.mean)),
            or_dash(interval.map(|i| i.low)),
            or_dash(interval.map(|i| i.high)),
            scored,
            label.to_owned(),
        ]
    };
    let scored =
        |side: &preceptor_experiment::Side| format!("{}/{}", side.num_scored, side.num_wanted);
    let difference = found.difference.map(|d| d.estimate);
    let paired = match found.design {
        Design::Samples => "paired by prompt",
        Design::TrainingRuns => "paired by training run and prompt",
    };
    let rows = [
        row("A", &found.a.label, found.a.mean, scored(&found.a)),
        row("B", &found.b.label, found.b.mean, scored(&found.b)),
        row("A - B", paired, difference, String::new()),
    ];
    output.table(&["", "mean", "low", "high", "scored", "condition"], &rows);
    let p_value = found.difference.and_then(|d| d.p_value);
    let p_value = p_value.map_or_else(|| "-".to_owned(), format_p_value);
    let note = note.map_or_else(String::new, |note| format!(" ({note})"));
    output.text(format!(
        "{} prompts: A better on {wins}, B better on {losses}, equal on {ties}; p {p_value}{note}",
        wins + losses + ties,
    ));
    Ok(ExitCode::SUCCESS)
}
