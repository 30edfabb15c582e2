//! `models`.

use std::path::PathBuf;
use std::process::ExitCode;

use preceptor_files::{FileState, Files, ModelSource, Places};
use serde_json::json;

use crate::commands::files::{FilesCommand, exit_code, print_states, reported, state_name};
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::FetchBar;

pub(crate) fn models(command: &FilesCommand, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    match command {
        FilesCommand::List | FilesCommand::Verify { .. } => {
            let known = files.registry().models.keys().cloned().collect();
            let (names, rehash) = reported(command, known);
            let mut rows = Vec::new();
            for name in names {
                let status = files.model_status(&name, rehash)?;
                let summary = files.registry().model(&name)?.summary.clone();
                rows.push((name, summary, Some(status)));
            }
            Ok(exit_code(&print_states(output, rows)))
        }
        FilesCommand::Fetch { names, wheel } => fetch(&files, names, wheel, output),
        FilesCommand::Show { name } => show(&files, name, output),
    }
}

fn fetch(
    files: &Files,
    names: &[String],
    wheel: &[PathBuf],
    output: &Output,
) -> Result<ExitCode, Failure> {
    let mut paths = Vec::new();
    for name in names {
        let terms = files.registry().model(name)?.terms.as_deref();
        let is_here = files.model_status(name, false)?.state != FileState::Missing;
        if let Some(terms) = terms.filter(|_| !is_here) {
            eprintln!("{name}: {terms}");
        }
        let mut bar = FetchBar::default();
        let located = files.fetch_model(name, wheel, &mut |at| bar.show(at))?;
        bar.clear();
        output.text(format!("{name}: {}", located.path.display()));
        paths.push(json!({"name": name, "path": located.path, "sha256": located.sha256}));
    }
    output.json(&paths);
    Ok(ExitCode::SUCCESS)
}

fn show(files: &Files, name: &str, output: &Output) -> Result<ExitCode, Failure> {
    let entry = files.registry().model(name)?;
    let status = files.model_status(name, true)?;
    let source = describe_source(&entry.source);
    output.json(&json!({
        "name": name, "summary": entry.summary, "license": entry.license, "terms": entry.terms,
        "num-parameters": entry.num_parameters, "context-length": entry.context_length,
        "source": source, "path": status.path, "state": state_name(status.state),
    }));
    output.text(format!("{name}: {}", entry.summary));
    output.text(format!("  licence     {}", entry.license));
    if let Some(terms) = &entry.terms {
        output.text(format!("  terms       {terms}"));
    }
    output.text(format!("  parameters  {}", entry.num_parameters));
    output.text(format!("  context     {} tokens", entry.context_length));
    output.text(format!("  source      {source}"));
    output.text(format!("  files       {} ({})", status.path.display(), state_name(status.state)));
    Ok(exit_code(&[status.state]))
}

fn describe_source(source: &ModelSource) -> String {
    match source {
        ModelSource::Wheel { package, version, file, sha256 } => {
            format!("file {file} (sha256 {sha256}) of Python package {package} {version}")
        }
        ModelSource::WheelParts { packages, version, file, sha256 } => {
            let packages = packages.join(", ");
            format!("file {file} (sha256 {sha256}) of Python packages {packages} {version}")
        }
        ModelSource::Hub { repository, revision } => {
            format!("repository {repository}, revision {revision}")
        }
        ModelSource::Shipped { sha256 } => {
            format!("part of this program (weights sha256 {sha256})")
        }
        ModelSource::Path { path } => format!("path {path}"),
    }
}
