//! Rows of JSON, as benchmarks publish them: one object per line, or one array of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::{Message, Prompt, PromptBody, PromptId, Role};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::asking::Asking;
use crate::number::plain_number;
use crate::task::digest_of_pairs;
use preceptor_text::without_byte_order_mark;

use crate::{Data, Error, Label, Task, TaskSet};

/// A row with its position, so that errors can name it.
pub(crate) struct Row {
    path: PathBuf,
    number: usize,
    /// The fields as they are written in the file, so that numbers keep their digits.
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Row {
    /// Reads every row of the file at `path`; an empty file is an error.
    pub(crate) fn read_all(path: &Path) -> Result<Vec<Self>, Error> {
        let text = fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let text = without_byte_order_mark(&text);
        let bad = |row, detail| Error::BadRow { path: path.to_owned(), row, detail };
        let row = |number: usize, value: &str| {
            let value = value.trim();
            if !value.starts_with('{') && serde_json::from_str::<&RawValue>(value).is_ok() {
                return Err(bad(number, "a row is a JSON object".to_owned()));
            }
            let fields = serde_json::from_str(value)
                .map_err(|error| bad(number, format!("not JSON: {error}")))?;
            Ok(Self { path: path.to_owned(), number, fields })
        };
        let rows: Vec<Self> = if text.trim_start().starts_with('[') {
            let values: Vec<&RawValue> = serde_json::from_str(text)
                .map_err(|error| bad(1, format!("not a JSON array: {error}")))?;
            let rows = values.into_iter().enumerate();
            rows.map(|(i, value)| row(i + 1, value.get())).collect::<Result<_, _>>()?
        } else {
            // Split on line feeds alone: texts may hold other Unicode line separators.
            let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
            lines.map(|(i, line)| row(i + 1, line)).collect::<Result<_, _>>()?
        };
        if rows.is_empty() { Err(bad(1, "the file has no rows".to_owned())) } else { Ok(rows) }
    }

    /// Returns a field as text; a number with all its digits and without an exponent.
    pub(crate) fn text(&self, key: &str) -> Result<String, Error> {
        let value = self.required(key)?;
        match value.as_bytes().first() {
            Some(b'"') => self.parsed(key),
            Some(b'-' | b'0'..=b'9') => plain_number(value).ok_or_else(|| {
                self.bad(format!(
                    "field `{key}` has more than 1000 digits when written without an exponent"
                ))
            }),
            _ => Err(self.bad(format!("field `{key}` is {value}, expected text or a number"))),
        }
    }

    /// Returns a field as text that is not blank.
    pub(crate) fn filled_text(&self, key: &str) -> Result<String, Error> {
        let text = self.text(key)?;
        if text.trim().is_empty() {
            Err(self.bad(format!("field `{key}` is blank")))
        } else {
            Ok(text)
        }
    }

    /// Returns a field as it is written in the file.
    pub(crate) fn required(&self, key: &str) -> Result<&str, Error> {
        self.fields.get(key).map(|value| value.get()).ok_or_else(|| {
            let known: Vec<_> = self.fields.keys().map(|key| format!("`{key}`")).collect();
            self.bad(format!("no field `{key}` (there are {})", known.join(", ")))
        })
    }

    /// Returns true if the row has the field.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Returns true if a field is a list.
    pub(crate) fn is_list(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| value.get().starts_with('['))
    }

    /// Returns a field that holds a chat whose last turn is the user's: a list of tables with `role` and
    /// `content`.
    pub(crate) fn chat(&self, key: &str) -> Result<Vec<Message>, Error> {
        #[derive(Deserialize)]
        #[serde(expecting = "a table with `role` and `content`")]
        struct Turn {
            role: String,
            content: String,
        }
        self.required(key)?;
        let turns: Vec<Turn> = self.parsed(key)?;
        let message = |(number, turn): (usize, Turn)| {
            let role = match turn.role.as_str() {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                other => {
                    return Err(self.bad(format!(
                        "field `{key}`, turn {}: expected the role `system`, `user` or `assistant`, found `{other}`",
                        number + 1
                    )));
                }
            };
            Ok(Message { role, content: turn.content })
        };
        let messages = turns.into_iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?;
        match messages.last() {
            None => {
                let detail = format!("field `{key}` is empty; expected at least one message");
                Err(self.bad(detail))
            }
            Some(last) if last.role != Role::User => {
                let role = last.role.as_str();
                let detail = format!("field `{key}` ends with the role `{role}`; expected `user`");
                Err(self.bad(detail))
            }
            Some(_) => Ok(messages),
        }
    }

    /// Returns a field of any shape; one that is missing is read as `null`.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        let value = self.fields.get(key).map_or("null", |value| value.get());
        serde_json::from_str(value).map_err(|error| {
            // The position within the field tells a reader of the file nothing.
            let error = error.to_string();
            let detail = error.split(" at line ").next().unwrap_or_default();
            self.bad(format!("field `{key}`: {detail}"))
        })
    }

    /// Returns the error of a row whose id occurred before.
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
    /// The turns that end with the problem, where it is the last one of a chat.
    pub(crate) chat: Option<Vec<Message>>,
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
        if problem.answer.trim().is_empty() {
            return Err(row.bad("the label is blank: every answer would be wrong".to_owned()));
        }
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
    let task = |problem: Problem| {
        let body = match problem.chat {
            None => asking.body(&problem.problem),
            Some(mut messages) => {
                let last = messages.last_mut().expect("a chat has a turn");
                last.content = asking.question(&last.content);
                PromptBody::Chat(messages)
            }
        };
        Task {
            prompt: Prompt::new(PromptId::new(format!("{benchmark}/{}", problem.id)), body),
            question: problem.problem,
            label: Label::new(problem.answer),
            tags: problem.tags.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }
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
