//! `models`.

use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::HumanBytes;
use preceptor_files::{FileState, Files, ModelEntry, ModelSource, Places};
use serde_json::{Value, json};

use crate::commands::files::{FilesCommand, Row, exit_code, print_states, reported, state_name};
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::FetchBar;

/// Columns of the list of models.
const COLUMNS: [&str; 4] = ["license", "size", "sampling-memory", "training-memory"];
/// Bytes per parameter of weights in single precision.
const SAMPLING_BYTES: u64 = 4;
/// Bytes per parameter of weights, gradients and both moments of AdamW in single precision.
const TRAINING_BYTES: u64 = 16;

pub(crate) fn models(command: &FilesCommand, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    match command {
        FilesCommand::List | FilesCommand::Verify { .. } => {
            let known = files.registry().models.keys().cloned().collect();
            let (names, rehash) = reported(command, known);
            let mut rows = Vec::new();
            for name in names {
                let status = files.model_status(&name, rehash)?;
                let entry = files.registry().model(&name)?;
                let (summary, cells) = (entry.summary.clone(), cells(entry));
                rows.push(Row { name, summary, status: Some(status), cells });
            }
            Ok(exit_code(&print_states(output, &COLUMNS, rows)))
        }
        FilesCommand::Fetch { names, wheel } => fetch(&files, names, wheel, output),
        FilesCommand::Show { name } => show(&files, name, output),
    }
}

/// Returns the licence, the size of the files, and the least memory in single precision to sample and to
/// train all weights, without keys and values or activations.
fn cells(entry: &ModelEntry) -> Vec<(String, Value)> {
    let bytes = |bytes: u64| (HumanBytes(bytes).to_string(), json!(bytes));
    vec![
        (entry.license.clone(), json!(entry.license)),
        entry.num_bytes.map_or_else(|| ("-".to_owned(), Value::Null), bytes),
        bytes(SAMPLING_BYTES * entry.num_parameters),
        bytes(TRAINING_BYTES * entry.num_parameters),
    ]
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
        "num-parameters": entry.num_parameters, "num-bytes": entry.num_bytes, "context-length": entry.context_length,
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
        ModelSource::WheelParts { packages, version, file, sha256, hub, .. } => {
            let packages = packages.join(", ");
            let on_hub = hub.as_ref().map_or_else(String::new, |hub| {
                format!(", or file {} of repository {}", hub.file, hub.repository)
            });
            format!("file {file} (sha256 {sha256}) of Python packages {packages} {version}{on_hub}")
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
