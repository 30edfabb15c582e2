//! MATH-500: 500 competition problems of the MATH test split, with final answers.
//!
//! Seven subjects, levels 1 to 5; the split is PRM800K's (Lightman et al. 2023), the problems are
//! Hendrycks et al. 2021. A row, shortened:
//!
//! ```json
//! {"problem": "What is ..?", "solution": "..", "answer": "\\frac{1}{2}",
//!  "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"}
//! ```
//!
//! Tags: `subject`, `level`. Differs from the paper: it states neither prompt nor grader; the
//! prompt is `prompts/boxed.md`, the default grader profile `verify`.

use preceptor_core::{Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::benchmark::required;
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

/// Name of the data set in the registry.
const DATA_SET: &str = "math500";

const CANONICAL: &str = "de916cc46a24249ac8cc922835454c7b508d4f9108a3d6d03753cdaaff57754b";

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Worked examples before the problem, 0 to 4; with any, the prompt is plain text instead of a
    /// chat.
    pub shots: u32,
}

impl Settings for Config {
    const NAME: &'static str = "math500";
    const SUMMARY: &'static str = "MATH-500: competition problems with final answers";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        check_shots(self.shots)
    }
}

impl Benchmark for Config {
    fn data_set(&self) -> Option<&str> {
        Some(DATA_SET)
    }

    fn load(&self, data: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let data = required(data);
        let asking = Asking::new(self.shots, Examples::Competition);
        load_problems(DATA_SET, data, Some(CANONICAL), &asking, limit, |row| {
            Ok(Problem {
                id: row.text("unique_id")?,
                problem: row.text("problem")?,
                chat: None,
                answer: row.text("answer")?,
                tags: vec![("subject", row.text("subject")?), ("level", row.text("level")?)],
            })
        })
    }
}
