//! Problems of the user: a file of JSON rows with a problem and a final answer.
//!
//! ```json
//! {"id": "1", "problem": "What is 2 + 3?", "answer": "5"}
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples};
use crate::rows::{Problem, load_problems};
use crate::{Data, Error, TaskSet};

/// One line for lists.
pub const SUMMARY: &str = "your own problems with final answers, from a JSONL file";

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The file, relative to the working directory.
    pub path: PathBuf,
    /// The benchmark's name in tables.
    pub name: String,
    /// Field with a unique id; without it rows are numbered.
    pub id_field: Option<String>,
    /// Field with the problem.
    pub problem_field: String,
    /// Field with the final answer.
    pub answer_field: String,
    /// Worked examples of competition problems before the problem, 0 to 4; with any, the prompt is
    /// plain text instead of a chat.
    pub shots: u32,
    /// True if the texts may be shown on a page that is published.
    pub shareable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            name: "jsonl".to_owned(),
            id_field: None,
            problem_field: "problem".to_owned(),
            answer_field: "answer".to_owned(),
            shots: 0,
            shareable: false,
        }
    }
}

/// Loads the tasks.
///
/// # Errors
///
/// [`Error`] naming the row that lacks a field, or the setting that is not allowed.
pub fn load(config: &Config, limit: Option<usize>) -> Result<TaskSet, Error> {
    if config.path.as_os_str().is_empty() {
        return Err(Error::OutOfRange {
            key: "benchmark.path",
            value: "\"\"".to_owned(),
            allowed: "the path of a JSONL file",
        });
    }
    let data = Data { path: config.path.clone(), is_published: false };
    let asking = Asking::new(config.shots, Examples::Competition)?;
    let tasks = load_problems(&config.name, &data, None, &asking, limit, |row| {
        let problem = row.filled_text(&config.problem_field)?;
        let id = match &config.id_field {
            Some(field) => row.text(field)?,
            None => preceptor_core::Digest::of(problem.as_bytes()).short().to_owned(),
        };
        Ok(Problem {
            id,
            problem,
            answer: row.filled_text(&config.answer_field)?,
            tags: Vec::new(),
        })
    })?;
    Ok(TaskSet { shareable: config.shareable, ..tasks })
}
