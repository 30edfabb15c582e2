//! AMC 12: 40 problems of 2023 (`amc23`), or the 83 of 2022 and 2023 that TTRL uses (`amc`).
//!
//! A row, shortened: `{"id": 0, "problem": "Cities ..", "answer": 27.0}`; TTRL's call the problem
//! `prompt` and write the answer as text, `"142.0"`. Labels are written without the fraction where
//! it is zero.

use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples};
use crate::rows::{Problem, load_problems};
use crate::{Data, Error, TaskSet};

/// One line for lists.
pub const SUMMARY: &str = "AMC 12: competition problems, 40 (2023) or 83 (2022 and 2023)";

const CANONICAL_AMC23: &str = "d0223692538e93d5f7c5b4e18dffa14ad5503a63a592687fa142caaab5a17a7b";
const CANONICAL_AMC: &str = "e054f09838bcd1d59234c908b500c5e6c4cf24824d714b087d7c4a2e3b642fac";

/// The set of problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// 40 problems of 2023.
    Amc23,
    /// TTRL's 83 problems of 2022 and 2023.
    #[default]
    Amc,
}

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The set of problems: `"amc23"` or `"amc"`.
    pub set: Set,
    /// Worked examples before the problem, 0 to 4; with any, the prompt is plain text instead of a
    /// chat.
    pub shots: u32,
}

/// Name of the data set in the registry.
pub fn data_set(config: &Config) -> &'static str {
    match config.set {
        Set::Amc23 => "amc23",
        Set::Amc => "amc",
    }
}

/// Loads the tasks.
///
/// # Errors
///
/// [`Error`] for more `shots` than there are, or if the file is not this set.
pub fn load(config: &Config, data: &Data, limit: Option<usize>) -> Result<TaskSet, Error> {
    let (canonical, problem_field) = match config.set {
        Set::Amc23 => (CANONICAL_AMC23, "problem"),
        Set::Amc => (CANONICAL_AMC, "prompt"),
    };
    let name = data_set(config);
    let asking = Asking::new(config.shots, Examples::Competition)?;
    load_problems(name, data, Some(canonical), &asking, limit, |row| {
        let answer = row.text("answer")?;
        let answer = answer.strip_suffix(".0").unwrap_or(&answer).to_owned();
        Ok(Problem { id: row.text("id")?, problem: row.text(problem_field)?, answer, tags: vec![] })
    })
}
