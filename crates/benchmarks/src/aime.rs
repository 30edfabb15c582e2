//! AIME 2024 and 2025: 30 problems a year, answers from 000 to 999.
//!
//! A row, shortened: `{"id": 60, "problem": "Every morning ..", "answer": "204"}`. Leading zeros are
//! dropped from labels: `025` is 25. Thirty problems make wide intervals; the report shows them.

use preceptor_core::{Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::benchmark::required;
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

const CANONICAL_2024: &str = "c2da8ea003e818092945086151faba67f31732ffe60ca523a9a83bc916716ac1";
const CANONICAL_2025: &str = "2e471868257923c3d636e50b04fa9624a4c1c23651f33e09cfccbbb76bad60f6";

/// The contest.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Year {
    /// AIME 2024 I and II.
    #[serde(rename = "2024")]
    Y2024,
    /// AIME 2025 I and II.
    #[default]
    #[serde(rename = "2025")]
    Y2025,
}

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The contest's year: `"2024"` or `"2025"`.
    pub year: Year,
    /// Worked examples before the problem, 0 to 4; with any, the prompt is plain text instead of a
    /// chat.
    pub shots: u32,
}

impl Settings for Config {
    const NAME: &'static str = "aime";
    const SUMMARY: &'static str = "AIME 2024 or 2025: competition problems with integer answers";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        check_shots(self.shots)
    }
}

impl Benchmark for Config {
    fn data_set(&self) -> Option<&str> {
        Some(data_set(self))
    }

    fn load(&self, data: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let data = required(data);
        let canonical = match self.year {
            Year::Y2024 => CANONICAL_2024,
            Year::Y2025 => CANONICAL_2025,
        };
        let name = data_set(self);
        let asking = Asking::new(self.shots, Examples::Competition);
        load_problems(name, data, Some(canonical), &asking, limit, |row| {
            let answer = row.text("answer")?;
            let number: u32 = answer.parse().map_err(|_| {
                row.bad(format!("field `answer` is `{answer}`: must be between 0 and 999"))
            })?;
            let id = row.text("id")?;
            Ok(Problem {
                id,
                problem: row.text("problem")?,
                chat: None,
                answer: number.to_string(),
                tags: vec![],
            })
        })
    }
}

/// Name of the data set in the registry.
fn data_set(config: &Config) -> &'static str {
    match config.year {
        Year::Y2024 => "aime24",
        Year::Y2025 => "aime25",
    }
}
