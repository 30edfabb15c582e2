//! `answers equal`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use preceptor_answers::GraderProfile;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;

/// Line of a file of pairs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    /// The label.
    a: String,
    /// The answer.
    b: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnswersCommand {
    /// The verdict of every grader profile on a pair of answers, with the reason.
    Equal {
        /// The label.
        #[arg(required_unless_present = "pairs", allow_hyphen_values = true)]
        a: Option<String>,
        /// The answer.
        #[arg(required_unless_present = "pairs", allow_hyphen_values = true)]
        b: Option<String>,
        /// Read pairs `{"a": "..", "b": ".."}` from a JSONL file instead; one JSON line back each.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b"])]
        pairs: Option<PathBuf>,
    },
}

pub(crate) fn answers(command: &AnswersCommand, output: &Output) -> Result<ExitCode, Failure> {
    let AnswersCommand::Equal { a, b, pairs } = command;
    match (a, b, pairs) {
        (_, _, Some(path)) => pairs_of_file(path, output),
        (Some(a), Some(b), None) => {
            output.json(&verdicts(a, b));
            let rows: Vec<_> = GraderProfile::ALL
                .iter()
                .map(|profile| {
                    let grade = profile.grade(a, Some(b));
                    let verdict = if grade.equal { "equal" } else { "different" };
                    vec![profile.name().to_owned(), verdict.to_owned(), grade.reason]
                })
                .collect();
            output.table(&["profile", "verdict", "reason"], &rows);
            Ok(ExitCode::SUCCESS)
        }
        _ => unreachable!("the argument parser asks for both answers or a file"),
    }
}

fn verdicts(a: &str, b: &str) -> Value {
    let verdict = |profile: &GraderProfile| {
        let grade = profile.grade(a, Some(b));
        (profile.name().to_owned(), json!({"equal": grade.equal, "reason": grade.reason}))
    };
    json!({"a": a, "b": b, "profiles": GraderProfile::ALL.iter().map(verdict).collect::<serde_json::Map<_, _>>()})
}

fn pairs_of_file(path: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let hint = "expected on each line: {\"a\": \"label\", \"b\": \"answer\"}";
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::input(format!("read `{}`: {error}", path.display()), hint))?;
    for (i, line) in text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let pair: Pair = serde_json::from_str(line).map_err(|error| {
            Failure::input(format!("read line {} of `{}`: {error}", i + 1, path.display()), hint)
        })?;
        output.line(&verdicts(&pair.a, &pair.b).to_string());
    }
    Ok(ExitCode::SUCCESS)
}
