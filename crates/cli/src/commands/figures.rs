//! `figures`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_reports::FigureWidth;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct FiguresArguments {
    /// The report's folder, for example `reports/aggregators-small`.
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The printed width in inches: 3.3 for a column, 6.75 for both columns of a page.
    #[arg(long, value_name = "INCHES", default_value = "6.75")]
    pub(crate) width: f64,
}

pub(crate) fn figures(arguments: &FiguresArguments, output: &Output) -> Result<ExitCode, Failure> {
    let FiguresArguments { folder, width } = arguments;
    let width = FigureWidth::inches(*width).ok_or_else(|| {
        Failure::input(
            format!("draw figures: `--width {width}`: must be between 2.5 and 12 inches"),
            "a column of a paper is 3.3 inches wide, a page 6.75",
        )
    })?;
    let files = preceptor_reports::redraw(folder, width)?;
    output.json(&files);
    output.text(format!("Wrote {} files to {}", files.len(), folder.join("figures").display()));
    Ok(ExitCode::SUCCESS)
}
