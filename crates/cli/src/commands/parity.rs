//! `parity`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_models::Device;
use preceptor_trainer::parity::{Comparison, check};
use serde_json::{Value, json};

use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct ParityArguments {
    /// A folder of fixtures: a checkpoint with `expected.json` and `train_expected.json`.
    folder: PathBuf,
    /// Device to compute on: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow.
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub(crate) fn parity(arguments: &ParityArguments, output: &Output) -> Result<ExitCode, Failure> {
    let device = Device::parse(&arguments.device)?;
    let comparisons = check(&arguments.folder, &device)?;
    let wrong = comparisons.iter().filter(|comparison| !comparison.holds()).count();
    output.json(&json!({
        "device": device.to_string(),
        "holds": wrong == 0,
        "comparisons": comparisons.iter().map(value).collect::<Vec<_>>(),
    }));
    let rows: Vec<_> = comparisons.iter().map(row).collect();
    output.table(&["comparison", "values", "largest difference", "allowed", "verdict"], &rows);
    let verdict = match wrong {
        0 => format!("all {} comparisons hold on {device}", comparisons.len()),
        _ => format!("{wrong} of {} comparisons fail on {device}", comparisons.len()),
    };
    output.text(format!("\n{verdict}"));
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(CHECKS_FAILED) })
}

fn value(comparison: &Comparison) -> Value {
    let Comparison { what, compared, largest, tolerance, relative } = comparison;
    json!({
        "comparison": what,
        "values": compared,
        "largest-difference": largest,
        "allowed": tolerance,
        "relative": relative,
        "holds": comparison.holds(),
    })
}

fn row(comparison: &Comparison) -> Vec<String> {
    let kind = if comparison.relative { "relative" } else { "absolute" };
    vec![
        comparison.what.clone(),
        comparison.compared.to_string(),
        format!("{:.1e}", comparison.largest),
        format!("{:.1e} {kind}", comparison.tolerance),
        if comparison.holds() { "holds" } else { "FAILS" }.to_owned(),
    ]
}
