//! Rows of JSON, as benchmarks publish them: one object a line, or one array of objects.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::{Prompt, PromptId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::asking::Asking;
use crate::task::digest_of_pairs;
use crate::{Data, Error, Label, Task, TaskSet};

/// One row with its place, so that errors can name it.
pub(crate) struct Row {
    path: PathBuf,
    number: usize,
    fields: Map<String, Value>,
}

impl Row {
    /// Every row of the file at `path`.
    pub(crate) fn read_all(path: &Path) -> Result<Vec<Self>, Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let row = |number: usize, value: Result<Value, serde_json::Error>| {
            let bad = |detail| Error::BadRow { path: path.to_owned(), row: number, detail };
            match value.map_err(|error| bad(format!("not JSON: {error}")))? {
                Value::Object(fields) => Ok(Self { path: path.to_owned(), number, fields }),
                _ => Err(bad("a row is a JSON object".to_owned())),
            }
        };
        if text.trim_start().starts_with('[') {
            let values: Vec<Value> = serde_json::from_str(&text).map_err(|error| {
                let detail = format!("not a JSON array: {error}");
                Error::BadRow { path: path.to_owned(), row: 1, detail }
            })?;
            return values.into_iter().enumerate().map(|(i, v)| row(i + 1, Ok(v))).collect();
        }
        // Split on line feeds alone: texts may hold other Unicode line separators.
        let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(i, line)| row(i + 1, serde_json::from_str(line))).collect()
    }

    /// A field as text; whole numbers are written without a fraction.
    pub(crate) fn text(&self, key: &str) -> Result<String, Error> {
        match self.fields.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(match number.as_f64() {
                Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
                _ => number.to_string(),
            }),
            Some(other) => {
                Err(self.bad(format!("field `{key}` is {other}, allowed is text or a number")))
            }
            None => {
                let known: Vec<_> = self.fields.keys().map(|key| format!("`{key}`")).collect();
                Err(self.bad(format!("no field `{key}` (there are {})", known.join(", "))))
            }
        }
    }

    /// A field of any shape.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        let value = self.fields.get(key).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|error| self.bad(format!("field `{key}`: {error}")))
    }

    /// The error of a row whose id occurs before.
    pub(crate) fn duplicate(&self, id: String) -> Error {
        Error::DuplicateId { path: self.path.clone(), row: self.number, id }
    }

    pub(crate) fn bad(&self, detail: String) -> Error {
        Error::BadRow { path: self.path.clone(), row: self.number, detail }
    }
}

/// The fields of a row that every benchmark with final answers has.
pub(crate) struct Problem {
    pub(crate) id: String,
    pub(crate) problem: String,
    pub(crate) answer: String,
    pub(crate) tags: Vec<(&'static str, String)>,
}

/// Reads problems with final answers, checks that they are the published ones and keeps `limit`.
pub(crate) fn load_problems(
    benchmark: &str,
    data: &Data,
    canonical: Option<&'static str>,
    asking: &Asking,
    limit: Option<usize>,
    read: impl Fn(&Row) -> Result<Problem, Error>,
) -> Result<TaskSet, Error> {
    let rows = Row::read_all(&data.path)?;
    let mut seen = BTreeSet::new();
    let mut problems = Vec::with_capacity(rows.len());
    for row in &rows {
        let problem = read(row)?;
        if !seen.insert(problem.id.clone()) {
            return Err(row.duplicate(problem.id));
        }
        problems.push(problem);
    }
    if let (Some(expected), true) = (canonical, data.is_published) {
        let found = canonical_digest(&problems);
        if found != expected {
            let (path, num_rows) = (data.path.clone(), rows.len());
            return Err(Error::WrongRows { path, num_rows, found, expected });
        }
    }
    let task = |problem: Problem| Task {
        prompt: Prompt {
            id: PromptId::new(format!("{benchmark}/{}", problem.id)),
            body: asking.body(&problem.problem),
        },
        question: problem.problem,
        label: Label::new(problem.answer),
        tags: problem.tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    let tasks = problems.into_iter().map(task).collect();
    Ok(TaskSet { stop: asking.stop(), ..TaskSet::of_all(benchmark, tasks, limit) })
}

/// Digest of id, problem and answer of every row, whatever form they came in.
fn canonical_digest(problems: &[Problem]) -> String {
    let pairs = problems
        .iter()
        .flat_map(|p| [(p.id.as_str(), p.problem.as_str()), ("answer", p.answer.as_str())]);
    digest_of_pairs(pairs).to_string()
}
