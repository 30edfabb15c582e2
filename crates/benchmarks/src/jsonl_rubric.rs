//! Conversations of the user with rubrics: a file of JSON rows in HealthBench's schema.
//!
//! ```json
//! {"prompt_id": "1", "prompt": [{"role": "user", "content": "My knee hurts."}],
//!  "rubrics": [{"criterion": "Asks since when.", "points": 5, "tags": ["axis:context"]},
//!              {"criterion": "Names a drug.", "points": -3}],
//!  "example_tags": ["theme:context-seeking"]}
//! ```
//!
//! `prompt_id`, `tags` and `example_tags` may be missing. Responses are graded as HealthBench's are, by the
//! judge of `[eval-judge]`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use preceptor_core::{Digest, Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::rows::Row;
use crate::rubric_rows::rubric_task;
use crate::{Benchmark, Data, Error, Grader, TaskSet};

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The file, relative to the working directory.
    pub path: PathBuf,
    /// The benchmark's name in tables.
    pub name: String,
    /// True if the texts may be shown on a page that is published.
    pub shareable: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: PathBuf::new(), name: "jsonl-rubric".to_owned(), shareable: false }
    }
}

impl Settings for Config {
    const NAME: &'static str = "jsonl-rubric";
    const SUMMARY: &'static str =
        "your own conversations with rubrics, from a JSONL file in HealthBench's schema";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = !self.path.as_os_str().is_empty();
        OutOfRange::check("path", "\"\"", is_allowed, "the path of a JSONL file")
    }
}

impl Benchmark for Config {
    fn scores_form(&self) -> bool {
        true
    }

    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let mut seen = BTreeSet::new();
        let mut tasks = Vec::new();
        for row in Row::read_all(&self.path)? {
            let id = if row.has("prompt_id") {
                row.filled_text("prompt_id")?
            } else {
                Digest::of(row.required("prompt")?.as_bytes()).short().to_owned()
            };
            if !seen.insert(id.clone()) {
                return Err(row.duplicate(id));
            }
            tasks.push(rubric_task(&self.name, &id, &row)?);
        }
        let tasks = TaskSet::of_all(&self.name, tasks, limit);
        let (grader, shareable) = (Grader::HealthBenchStrict, self.shareable);
        Ok(TaskSet { grader, shareable, ..tasks })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ROW: &str = r#"{"prompt": [{"role": "user", "content": "Q"}], "rubrics": [{"criterion": "c", "points": 5}]}"#;

    fn load(rows: &str) -> Result<TaskSet, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, rows).unwrap();
        Config { path, name: "knees".to_owned(), ..Config::default() }.load(None, None)
    }

    #[test]
    fn a_row_needs_a_prompt_and_criteria_alone() {
        let set = load(ROW).unwrap();
        let task = &set.tasks[0];
        assert!(task.prompt.id.as_str().starts_with("knees/"), "{}", task.prompt.id);
        let rubric = task.label.rubric().unwrap();
        assert_eq!(rubric.rubric.criteria[0].points, 5.0);
        assert!(rubric.example_tags.is_empty());
        assert_eq!(set.grader, Grader::HealthBenchStrict);
        let tagged =
            ROW.replacen('{', r#"{"prompt_id": "k1", "example_tags": ["theme:pain"], "#, 1);
        let task = load(&tagged).unwrap().tasks.remove(0);
        assert_eq!(task.prompt.id.as_str(), "knees/k1");
        assert_eq!(task.tags["theme"], "pain");
    }

    #[test]
    fn malformed_rows_are_named_by_row_and_field() {
        let message = |rows: String| {
            let error = load(&rows).unwrap_err().to_string();
            let (before, after) = error.split_once('`').unwrap();
            format!("{}: {}", before.trim_end_matches(" of "), after.split_once("`: ").unwrap().1)
        };
        let messages = [
            message(format!("{ROW}\n{ROW}")),
            message(format!("{ROW}\n{}", ROW.replace("\"Q\"", "\"R\"").replace("\"c\"", "\" \""))),
            message(ROW.replace("\"points\": 5", "\"points\": -5")),
            message(ROW.replace("\"points\": 5", "\"weight\": 5")),
            message(ROW.replace("\"prompt\"", "\"prompts\"")),
            message(ROW.replace("\"rubrics\"", "\"criteria\"")),
            message(ROW.replace(r#"{"criterion": "c", "points": 5}"#, "7")),
            message(ROW.replace("\"Q\"", "7")),
            message(ROW.replacen('{', r#"{"example_tags": "pain", "#, 1)),
            message(ROW.replacen('{', r#"{"prompt_id": "", "#, 1)),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r#"
        read row 2: its id `2ee9c9d4317c` occurs before
        read row 2: field `rubrics`, item 1: `criterion` is blank
        read row 1: field `rubrics` has no item with positive points; such a row has no score
        read row 1: field `rubrics`: missing field `points`
        read row 1: no field `prompt` (there are `prompts`, `rubrics`)
        read row 1: no field `rubrics` (there are `criteria`, `prompt`)
        read row 1: field `rubrics`: invalid type: integer `7`, expected a table with `criterion` and `points`
        read row 1: field `prompt`: invalid type: integer `7`, expected a string
        read row 1: field `example_tags`: invalid type: string "pain", expected a sequence
        read row 1: field `prompt_id` is blank
        "#);
    }
}
