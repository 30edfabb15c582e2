//! GSM8K: 1,319 grade-school word problems (test split; Cobbe et al. 2021).
//!
//! A row, shortened; the label is what follows the four hashes:
//!
//! ```json
//! {"question": "Anna has 3 apples ..", "answer": "She has 3 + 4 = <<3+4=7>>7 ..\n#### 7"}
//! ```

use preceptor_core::{Digest, Needs, OutOfRange, Settings};
use serde::{Deserialize, Serialize};

use crate::asking::{Asking, Examples, check_shots};
use crate::benchmark::required;
use crate::rows::{Problem, load_problems};
use crate::{Benchmark, Data, Error, TaskSet};

/// Name of the data set in the registry.
const DATA_SET: &str = "gsm8k";

const CANONICAL: &str = "06ec853fb00f3a7b2056a1a11b0b52aef35e9603569d923e608a153a38867da0";

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Worked examples before the problem, 0 to 4; with any, the prompt is plain text instead of a
    /// chat.
    pub shots: u32,
}

impl Settings for Config {
    const NAME: &'static str = "gsm8k";
    const SUMMARY: &'static str = "GSM8K test split: grade-school word problems";
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
        let asking = Asking::new(self.shots, Examples::Words);
        load_problems(DATA_SET, data, Some(CANONICAL), &asking, limit, |row| {
            let question = row.text("question")?;
            let solution = row.text("answer")?;
            let (_, answer) = solution
                .rsplit_once("####")
                .ok_or_else(|| row.bad("field `answer` has no line `#### <answer>`".to_owned()))?;
            // Rows have no id; the question serves as one.
            let id = Digest::of(question.as_bytes()).short().to_owned();
            let answer = answer.trim().replace(',', "");
            Ok(Problem { id, problem: question, chat: None, answer, tags: Vec::new() })
        })
    }
}
