//! `data`.

use std::path::PathBuf;
use std::process::ExitCode;

use preceptor_files::{FileState, FileStatus, Files, Places};
use serde_json::json;

use crate::commands::files::{FilesCommand, Row, exit_code, print_states, reported, state_name};
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn data(command: &FilesCommand, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    match command {
        FilesCommand::List | FilesCommand::Verify { .. } => {
            let known = files.registry().data.keys().cloned().collect();
            let (names, rehash) = reported(command, known);
            let mut rows = Vec::new();
            for name in names {
                let status = used(files.data_status(&name, rehash)?);
                let entry = files.registry().data_set(&name)?;
                let (summary, license) = (entry.summary.clone(), entry.license.clone());
                let cells = vec![(license.clone(), json!(license))];
                rows.push(Row { name, summary, status, cells });
            }
            Ok(exit_code(&print_states(output, &["license"], rows)))
        }
        FilesCommand::Fetch { names, wheel } => fetch(&files, names, wheel, output),
        FilesCommand::Show { name } => show(&files, name, output),
    }
}

/// Returns the state of the file that would be used: the first that exists.
fn used(statuses: Vec<FileStatus>) -> Option<FileStatus> {
    let here = statuses.iter().position(|status| status.state != FileState::Missing);
    statuses.into_iter().nth(here.unwrap_or(0))
}

fn fetch(
    files: &Files,
    names: &[String],
    wheel: &[PathBuf],
    output: &Output,
) -> Result<ExitCode, Failure> {
    if !wheel.is_empty() {
        let hint = "`--wheel` is for `preceptor models fetch`";
        return Err(Failure::input("use `--wheel` with data", hint));
    }
    let mut paths = Vec::new();
    for name in names {
        let located = files.fetch_data_set(name)?;
        output.text(format!("{name}: {}", located.path.display()));
        paths.push(json!({"name": name, "path": located.path, "sha256": located.sha256}));
    }
    output.json(&paths);
    Ok(ExitCode::SUCCESS)
}

fn show(files: &Files, name: &str, output: &Output) -> Result<ExitCode, Failure> {
    let entry = files.registry().data_set(name)?;
    let statuses = files.data_status(name, true)?;
    let places: Vec<_> = statuses
        .iter()
        .map(|status| json!({"path": status.path, "state": state_name(status.state)}))
        .collect();
    let sources: Vec<_> = entry
        .sources
        .iter()
        .map(|source| json!({"file": source.file, "url": source.url, "sha256": source.sha256}))
        .collect();
    output.json(&json!({
        "name": name, "summary": entry.summary, "license": entry.license,
        "sources": sources, "files": places,
    }));
    output.text(format!("{name}: {}", entry.summary));
    output.text(format!("  licence  {}", entry.license));
    for source in &entry.sources {
        let url = source.url.as_deref().unwrap_or("no published URL");
        let sha256 = source.sha256.as_deref().unwrap_or("recorded at the first fetch");
        output.text(format!("  source   {url} (sha256 {sha256})"));
    }
    let states: Vec<_> = statuses.iter().map(|status| status.state).collect();
    for status in &statuses {
        let state = state_name(status.state);
        output.text(format!("  file     {} ({state})", status.path.display()));
    }
    Ok(exit_code(&states))
}
