//! `export`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_experiment::NoProgress;
use preceptor_models::GenerationOptions;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::session::open;
use crate::shared_arguments::ExperimentArguments;

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The folder to write, which must not exist yet.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Write only the adapter, in peft's layout.
    #[arg(long)]
    pub(crate) adapter: bool,
}

pub(crate) fn export(arguments: &ExportArguments, output: &Output) -> Result<ExitCode, Failure> {
    let mut session = open(&arguments.experiment, GenerationOptions::default())?;
    let exported = preceptor_experiment::export(
        &session.plan,
        &session.store,
        &mut session.models,
        &arguments.out,
        arguments.adapter,
        &mut NoProgress,
    )?;
    let folder = exported.folder.display().to_string();
    output.json(&json!({ "cell": exported.label, "step": exported.step, "folder": folder }));
    output.text(format!(
        "Wrote the policy of `{}` after step {} to {folder}",
        exported.label, exported.step
    ));
    Ok(ExitCode::SUCCESS)
}
