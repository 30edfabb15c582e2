//! `models` and `data`.

use std::process::ExitCode;

use preceptor_files::{FileState, FileStatus, Files, ModelSource, Places};
use serde_json::json;

use crate::arguments::FilesCommand;
use crate::failure::Failure;
use crate::lab::CHECKS_FAILED;
use crate::output::Output;
use crate::terminal::FetchBar;

fn name(state: FileState) -> &'static str {
    match state {
        FileState::Verified => "verified",
        FileState::Unknown => "here",
        FileState::Missing => "missing",
        FileState::Wrong => "wrong",
    }
}

/// The state of the file that would be used: the first one that is here.
fn used(statuses: Vec<FileStatus>) -> Option<FileStatus> {
    let here = statuses.iter().position(|status| status.state != FileState::Missing);
    statuses.into_iter().nth(here.unwrap_or(0))
}

fn status_rows(output: &Output, rows: Vec<(String, String, Option<FileStatus>)>) -> Vec<FileState> {
    let mut states = Vec::new();
    let mut json_rows = Vec::new();
    let mut table = Vec::new();
    for (entry, summary, status) in rows {
        let state = status.as_ref().map_or(FileState::Missing, |status| status.state);
        let path = status.map(|status| status.path.display().to_string());
        json_rows
            .push(json!({"name": entry, "state": name(state), "path": path, "summary": summary}));
        table.push(vec![entry, name(state).to_owned(), summary]);
        states.push(state);
    }
    output.json(&json_rows);
    output.table(&["name", "files", "summary"], &table);
    states
}

fn code(states: &[FileState]) -> ExitCode {
    if states.contains(&FileState::Wrong) {
        ExitCode::from(CHECKS_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

pub(crate) fn models(command: &FilesCommand, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    let known = &files.registry().models;
    match command {
        FilesCommand::List | FilesCommand::Verify { .. } => {
            let (names, rehash) = match command {
                FilesCommand::Verify { names } if !names.is_empty() => (names.clone(), true),
                FilesCommand::Verify { .. } => (known.keys().cloned().collect(), true),
                _ => (known.keys().cloned().collect::<Vec<_>>(), false),
            };
            let mut rows = Vec::new();
            for name in names {
                let status = files.model_status(&name, rehash)?;
                let summary = files.registry().model(&name)?.summary.clone();
                rows.push((name, summary, Some(status)));
            }
            Ok(code(&status_rows(output, rows)))
        }
        FilesCommand::Fetch { names, wheel } => {
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
        FilesCommand::Show { name } => {
            let entry = files.registry().model(name)?;
            let status = files.model_status(name, true)?;
            let source = match &entry.source {
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
            };
            output.json(&json!({
                "name": name, "summary": entry.summary, "license": entry.license, "terms": entry.terms,
                "num-parameters": entry.num_parameters, "context-length": entry.context_length,
                "source": source, "path": status.path, "state": crate::files::name(status.state),
            }));
            output.text(format!("{name}: {}", entry.summary));
            output.text(format!("  licence     {}", entry.license));
            if let Some(terms) = &entry.terms {
                output.text(format!("  terms       {terms}"));
            }
            output.text(format!("  parameters  {}", entry.num_parameters));
            output.text(format!("  context     {} tokens", entry.context_length));
            output.text(format!("  source      {source}"));
            output.text(format!(
                "  here        {} ({})",
                status.path.display(),
                crate::files::name(status.state)
            ));
            Ok(code(&[status.state]))
        }
    }
}

pub(crate) fn data(command: &FilesCommand, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    let known = &files.registry().data;
    match command {
        FilesCommand::List | FilesCommand::Verify { .. } => {
            let (names, rehash) = match command {
                FilesCommand::Verify { names } if !names.is_empty() => (names.clone(), true),
                FilesCommand::Verify { .. } => (known.keys().cloned().collect(), true),
                _ => (known.keys().cloned().collect::<Vec<_>>(), false),
            };
            let mut rows = Vec::new();
            for name in names {
                let status = used(files.data_status(&name, rehash)?);
                let summary = files.registry().data_set(&name)?.summary.clone();
                rows.push((name, summary, status));
            }
            Ok(code(&status_rows(output, rows)))
        }
        FilesCommand::Fetch { names, wheel } => {
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
        FilesCommand::Show { name } => {
            let entry = files.registry().data_set(name)?;
            let statuses = files.data_status(name, true)?;
            let places: Vec<_> = statuses
                .iter()
                .map(|status| json!({"path": status.path, "state": crate::files::name(status.state)}))
                .collect();
            let sources: Vec<_> = entry
                .sources
                .iter()
                .map(|source| json!({"file": source.file, "url": source.url, "sha256": source.sha256}))
                .collect();
            output.json(&json!({
                "name": name, "summary": entry.summary, "license": entry.license,
                "sources": sources, "places": places,
            }));
            output.text(format!("{name}: {}", entry.summary));
            output.text(format!("  licence  {}", entry.license));
            for source in &entry.sources {
                let url = source.url.as_deref().unwrap_or("no published address");
                let sha256 = source.sha256.as_deref().unwrap_or("recorded at the first fetch");
                output.text(format!("  source   {url} (sha256 {sha256})"));
            }
            let states: Vec<_> = statuses.iter().map(|status| status.state).collect();
            for status in &statuses {
                let state = crate::files::name(status.state);
                output.text(format!("  place    {} ({state})", status.path.display()));
            }
            Ok(code(&states))
        }
    }
}
