//! `figures`.

use std::path::Path;
use std::process::ExitCode;

use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn figures(folder: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let files = preceptor_reports::redraw(folder)?;
    output.json(&files);
    output.text(format!("Wrote {} files to {}", files.len(), folder.join("figures").display()));
    Ok(ExitCode::SUCCESS)
}
