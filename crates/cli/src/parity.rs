//! `parity`.

use std::path::Path;
use std::process::ExitCode;

use preceptor_models::Device;
use preceptor_trainer::parity::{Comparison, check};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn parity(folder: &Path, device: &str, output: &Output) -> Result<ExitCode, Failure> {
    let device = Device::parse(device)?;
    let comparisons = check(folder, &device)?;
    let wrong = comparisons.iter().filter(|comparison| !comparison.holds()).count();
    output.json(&json!({
        "device": device.to_string(),
        "holds": wrong == 0,
        "comparisons": comparisons.iter().map(value).collect::<Vec<_>>(),
    }));
    let rows: Vec<_> = comparisons.iter().map(row).collect();
    output.table(&["what", "numbers", "largest difference", "allowed", "verdict"], &rows);
    let verdict = match wrong {
        0 => format!("all {} comparisons hold on {device}", comparisons.len()),
        _ => format!("{wrong} of {} comparisons fail on {device}", comparisons.len()),
    };
    output.text(format!("\n{verdict}"));
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn value(comparison: &Comparison) -> Value {
    let Comparison { what, compared, largest, tolerance, relative } = comparison;
    json!({
        "what": what,
        "numbers": compared,
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
