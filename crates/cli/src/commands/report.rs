//! `report`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use preceptor_core::Digest;
use preceptor_experiment::{CellState, CellStatus};
use preceptor_models::GenerationOptions;
use preceptor_reports::{ReportOptions, Unfinished};
use serde_json::Value;

use crate::failure::{CHECKS_FAILED, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::session::{Session, open, write_report};
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
    /// Write the report of a run in progress again whenever the store has more, until the run is finished or
    /// Ctrl-C. Pages say that they are partial, and reload themselves.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two looks at the store.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) every: u64,
}

pub(crate) fn report(arguments: &ReportArguments, output: &Output) -> Result<ExitCode, Failure> {
    let session = open(&arguments.experiment, GenerationOptions::default())?;
    if arguments.watch {
        return watch(session, arguments, output);
    }
    let cells = preceptor_experiment::status(&session.plan, &session.store)?;
    let unfinished = cells.len() - num_finished(&cells);
    if unfinished > 0 {
        return Err(Failure::input(
            format!(
                "report `{}`: {unfinished} of {} cells are not finished",
                session.plan.experiment(),
                cells.len()
            ),
            format!(
                "run `preceptor run {}` first, or use `--watch` for a partial report",
                arguments.experiment.file.display()
            ),
        ));
    }
    finish(&session, &cells, arguments, output)
}

fn num_finished(cells: &[CellStatus]) -> usize {
    cells.iter().filter(|cell| cell.state.is_finished()).count()
}

/// Writes the report of a finished run.
fn finish(
    session: &Session,
    cells: &[CellStatus],
    arguments: &ReportArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let written = write_report(session, &arguments.reports, arguments.explorer.options(false))?;
    output.json(&written);
    output.text(format!("Report: {}", page(&written)));
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

fn page(written: &Value) -> &str {
    written["page"].as_str().unwrap_or_default()
}

/// Writes partial reports until the run is finished or interrupted.
fn watch(
    mut session: Session,
    arguments: &ReportArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    interrupt::listen();
    let mut seen: Option<Digest> = None;
    let mut is_last = false;
    loop {
        // Records that are added while the report is written are news.
        let now = session.store.fingerprint()?;
        if is_last || seen.as_ref() != Some(&now) {
            session.plan.settle(&session.store)?;
            let cells = preceptor_experiment::status(&session.plan, &session.store)?;
            let (finished, all) = (num_finished(&cells), cells.len());
            if finished == all {
                return finish(&session, &cells, arguments, output);
            }
            let reload_secs = (!is_last).then_some(arguments.every);
            let written = write_partial(&session, &cells, arguments, reload_secs)?;
            output.text(format!(
                "{finished} of {all} cells are finished. Partial report: {}",
                page(&written)
            ));
            if is_last {
                output.json(&written);
                return Ok(ExitCode::SUCCESS);
            }
            seen = Some(now);
        }
        is_last = interrupt::wait(Duration::from_secs(arguments.every));
    }
}

fn write_partial(
    session: &Session,
    cells: &[CellStatus],
    arguments: &ReportArguments,
    reload_secs: Option<u64>,
) -> Result<Value, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a partial page says when it was written")]
    let written = SystemTime::now();
    let (num_finished, num_cells) = (num_finished(cells), cells.len());
    let unfinished = Unfinished { written, reload_secs, num_finished, num_cells };
    let options =
        ReportOptions { unfinished: Some(unfinished), ..arguments.explorer.options(false) };
    write_report(session, &arguments.reports, options)
}
