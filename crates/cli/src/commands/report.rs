//! `report`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_experiment::CellState;
use preceptor_models::GenerationOptions;

use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;
use crate::session::{open, write_report};
use crate::shared_arguments::{ExperimentArguments, ExplorerArguments};

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The folder that reports are written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports: PathBuf,
    #[command(flatten)]
    pub(crate) explorer: ExplorerArguments,
}

pub(crate) fn report(arguments: &ReportArguments, output: &Output) -> Result<ExitCode, Failure> {
    let session = open(&arguments.experiment, GenerationOptions::default())?;
    let cells = preceptor_experiment::status(&session.plan, &session.store)?;
    let unfinished = cells.iter().filter(|cell| !cell.state.is_finished()).count();
    if unfinished > 0 {
        return Err(Failure::input(
            format!(
                "report `{}`: {unfinished} of {} cells are not finished",
                session.plan.experiment(),
                cells.len()
            ),
            format!("run `preceptor run {}` first", arguments.experiment.file.display()),
        ));
    }
    let written = write_report(&session, &arguments.reports, arguments.explorer.options(false))?;
    output.json(&written);
    output.text(format!("Report: {}", written["page"].as_str().unwrap_or_default()));
    let failed = cells.iter().filter(|cell| cell.state == CellState::Failed).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output.text(format!(
        "{failed} of {} cells have failed records; `preceptor run` retries them",
        cells.len()
    ));
    Ok(ExitCode::from(CHECKS_FAILED))
}
