//! Problems of the user: a file of JSON rows with a problem and a final answer.
//!
//! ```json
//! {"id": "1", "problem": "What is 2 + 3?", "answer": "5"}
//! ```

use std::path::PathBuf;

use preceptor_core::{Digest, Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

impl Settings for Config {
    const NAME: &'static str = "jsonl";
    const SUMMARY: &'static str = "your own problems with final answers, from a JSONL file";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = !self.path.as_os_str().is_empty();
        OutOfRange::check("path", "\"\"", is_allowed, "the path of a JSONL file")?;
        check_shots(self.shots)
    }
}

impl Benchmark for Config {
    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let data = Data { path: self.path.clone(), is_published: false };
        let asking = Asking::new(self.shots, Examples::Competition);
        let tasks = load_problems(&self.name, &data, None, &asking, limit, |row| {
            let problem = row.filled_text(&self.problem_field)?;
            let id = match &self.id_field {
                Some(field) => row.text(field)?,
                None => Digest::of(problem.as_bytes()).short().to_owned(),
            };
            Ok(Problem {
                id,
                problem,
                answer: row.filled_text(&self.answer_field)?,
                tags: Vec::new(),
            })
        })?;
        Ok(TaskSet { shareable: self.shareable, ..tasks })
    }
}
