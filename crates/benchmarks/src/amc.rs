//! AMC 12: 40 problems of 2023 (`amc23`), or the 83 of 2022 and 2023 that TTRL uses (`amc`).
//!
//! A row, shortened: `{"id": 0, "problem": "Cities ..", "answer": 27.0}`; TTRL's call the problem
//! `prompt` and write the answer as text, `"142.0"`. Labels are written without the fraction where
//! it is zero.

use preceptor_core::{Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::benchmark::required;
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

const CANONICAL_AMC23: &str = "d0223692538e93d5f7c5b4e18dffa14ad5503a63a592687fa142caaab5a17a7b";
const CANONICAL_AMC: &str = "e054f09838bcd1d59234c908b500c5e6c4cf24824d714b087d7c4a2e3b642fac";

/// The set of problems.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// 40 problems of 2023.
    Amc23,
    /// TTRL's 83 problems of 2022 and 2023.
    #[default]
    Amc,
}

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The set of problems: `"amc23"` or `"amc"`.
    pub set: Set,
    /// Worked examples before the problem, 0 to 4; with any, the prompt is plain text instead of a
    /// chat.
    pub shots: u32,
}

impl Settings for Config {
    const NAME: &'static str = "amc";
    const SUMMARY: &'static str = "AMC 12: competition problems, 40 (2023) or 83 (2022 and 2023)";
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
        let (canonical, problem_field) = match self.set {
            Set::Amc23 => (CANONICAL_AMC23, "problem"),
            Set::Amc => (CANONICAL_AMC, "prompt"),
        };
        let name = data_set(self);
        let asking = Asking::new(self.shots, Examples::Competition);
        load_problems(name, data, Some(canonical), &asking, limit, |row| {
            let answer = row.text("answer")?;
            let answer = answer.strip_suffix(".0").unwrap_or(&answer).to_owned();
            Ok(Problem {
                id: row.text("id")?,
                problem: row.text(problem_field)?,
                chat: None,
                answer,
                tags: vec![],
            })
        })
    }
}

/// Name of the data set in the registry.
fn data_set(config: &Config) -> &'static str {
    match config.set {
        Set::Amc23 => "amc23",
        Set::Amc => "amc",
    }
}
