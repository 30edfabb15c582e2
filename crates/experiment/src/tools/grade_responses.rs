//! Grading responses that were made elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use preceptor_answers::GraderProfile;
use preceptor_benchmarks::{Data, TaskSet, grade};
use preceptor_core::record::GradeRecord;
use preceptor_files::Files;
use preceptor_stats::{Estimate, clustered_proportion};
use preceptor_text::without_byte_order_mark;
use serde::Deserialize;

use crate::catalog::BenchmarkSettings;
use crate::error::ManifestError;
use crate::{Entry, Error};

/// Grades of a file.
#[derive(Clone, Debug)]
pub struct FileGrade {
    /// The grader that was used.
    pub grader: GraderProfile,
    /// Grades of the responses, in the order of the file.
    pub grades: Vec<GradeRecord>,
    /// Accuracy, clustered by prompt; none for an empty file.
    pub accuracy: Option<Estimate>,
    /// Prompts of the benchmark without a response.
    pub num_unanswered: usize,
}

/// Line of a file of responses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
struct Response {
    prompt_id: String,
    response: String,
}

/// Grades the responses in the JSONL file at `path` (`{"prompt_id": .., "response": ..}` a line)
/// against the benchmark of kind `benchmark` with default settings. A prompt may occur several
/// times.
///
/// # Errors
///
/// [`Error::Responses`] naming the line that can't be used; errors of the benchmark's data.
pub fn grade_responses(
    benchmark: &BenchmarkSettings,
    path: &Path,
    profile: Option<GraderProfile>,
    files: &Files,
) -> Result<FileGrade, Error> {
    let tasks = load(benchmark, files)?;
    let benchmark = &tasks.name;
    let Some(own) = tasks.grader.profile() else {
        return Err(ManifestError {
            location: "the command line".to_owned(),
            excerpt: None,
            detail: format!("`{benchmark}` is graded by a judge, not by comparing answers"),
            hint: Some("grade recorded verdicts with `--verdicts FILE`, or run a manifest".into()),
        }
        .into());
    };
    let grader = profile.unwrap_or(own);
    let by_id: BTreeMap<_, _> =
        tasks.tasks.iter().map(|task| (task.prompt.id.as_str(), task)).collect();
    let error = |line, detail| Error::Responses { path: path.display().to_string(), line, detail };
    let text = fs::read_to_string(path)
        .map_err(|source| Error::ReadResponses { path: path.display().to_string(), source })?;
    let mut grades = Vec::new();
    let mut scores: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (i, line) in without_byte_order_mark(&text)
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let response: Response = serde_json::from_str(line).map_err(|e| {
            error(
                i + 1,
                format!("{e}\nhint: a line is {{\"prompt_id\": \"..\", \"response\": \"..\"}}"),
            )
        })?;
        let Some((id, task)) = by_id.get_key_value(response.prompt_id.as_str()) else {
            let example = by_id.keys().next().map_or("", |id| *id);
            let detail = format!(
                "`{benchmark}` has no prompt `{}`\nhint: ids look like `{example}`",
                response.prompt_id
            );
            return Err(error(i + 1, detail));
        };
        let graded = grade(grader, &task.label, &response.response);
        scores.entry(id).or_default().extend(graded.score.value());
        grades.push(GradeRecord {
            prompt: task.prompt.id.clone(),
            score: graded.score,
            answer: graded.answer,
            extraction: graded.extraction,
            reason: graded.reason,
            label: task.label.display_text(),
            judged: Vec::new(),
        });
    }
    let num_unanswered = tasks.tasks.len() - scores.len();
    let clusters: Vec<_> = scores.into_values().collect();
    Ok(FileGrade { grader, grades, accuracy: clustered_proportion(&clusters), num_unanswered })
}

/// Creates the benchmark of kind `kind` with `settings` of the form `key=value`.
///
/// # Errors
///
/// [`Error::Manifest`] if there is no such benchmark or setting.
pub fn benchmark_settings(kind: &str, settings: &[String]) -> Result<BenchmarkSettings, Error> {
    let error = |detail: String, hint: Option<String>| ManifestError {
        location: "the command line".to_owned(),
        excerpt: None,
        detail,
        hint,
    };
    if !BenchmarkSettings::ALL.iter().any(|entry| entry.name == kind) {
        let kinds = BenchmarkSettings::ALL.iter().map(|entry: &Entry| format!("`{}`", entry.name));
        let hint = format!("benchmarks are {}", kinds.collect::<Vec<_>>().join(", "));
        return Err(error(format!("there is no benchmark `{kind}`"), Some(hint)).into());
    }
    let mut table = toml::Table::from_iter([("kind".to_owned(), toml::Value::from(kind))]);
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| error(format!("`--set {setting}`: there is no `=`"), None))?;
        let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::from(value.trim()));
        table.insert(key.trim().to_owned(), value);
    }
    let read = table.try_into::<BenchmarkSettings>();
    read.map_err(|wrong| error(format!("`{kind}`: {}", wrong.message()), None).into())
}

/// Loads every task of a benchmark.
pub(crate) fn load(settings: &BenchmarkSettings, files: &Files) -> Result<TaskSet, Error> {
    let data = match settings.data_set() {
        None => None,
        Some(name) => {
            let located = files.data_set(name)?;
            Some(Data { path: located.path, is_published: located.is_published })
        }
    };
    Ok(settings.load(data.as_ref(), None)?)
}
