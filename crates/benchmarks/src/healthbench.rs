//! HealthBench: health conversations with physicians' rubrics.
//!
//! 5,000 conversations (Arora et al. 2025, OpenAI simple-evals), each with criteria that are worth
//! points, negative ones for what a response should not do. A row, shortened (values invented; the
//! benchmark asks that its rows are not published in plain text):
//!
//! ```json
//! {"prompt_id": "..", "prompt": [{"role": "user", "content": ".."}], "example_tags": ["theme:hedging"],
//!  "rubrics": [{"criterion": "..", "points": 5, "tags": ["level:example", "axis:accuracy"]}],
//!  "ideal_completions_data": null, "canary": ".."}
//! ```
//!
//! `set` names a published file or one of its known subsets. `split` divides any of them in the same
//! way: `test` is a fixed list of 500 ids of the main file (`splits/healthbench-test.txt`); of the others
//! an id belongs to `validation` if the first byte of its blake3 digest is below 26 (about one in ten),
//! else to `train`. So no prompt is in two splits, whatever files are at hand.
//!
//! Tags of the pages: `theme` and, where it is there, `physician_agreed_category`. Criterion tags (axis,
//! level) stay with the criteria.
//!
//! Differs from the paper: it holds out 500 prompts, which are not named; ours are the rows of a
//! circulating random subset.

use std::collections::BTreeSet;

use preceptor_core::{Digest, Needs, Settings};
use serde::{Deserialize, Serialize};

use crate::benchmark::required;
use crate::rows::Row;
use crate::rubric_rows::rubric_task;
use crate::{Benchmark, Data, Error, Grader, TaskSet};

const TEST_IDS: &str = include_str!("../splits/healthbench-test.txt");
/// Ids whose digest's first byte is below this are for validation.
const VALIDATION_BELOW: u8 = 26;

/// The data file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// The main file, 5,000 rows.
    #[default]
    Main,
    /// HealthBench Hard, 1,000 rows.
    Hard,
    /// HealthBench Consensus, 3,671 rows with consensus criteria only.
    Consensus,
    /// 500 random rows of the main file.
    Random500,
    /// 245 rows of the main file, selected by PostTrainBench.
    Posttrainbench245,
    /// 50 random rows of Hard.
    Hard50,
    /// 104 rows of Hard and Consensus about seeking context; consensus criteria only.
    ContextSeeking104,
}

/// The split.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Held out for scores.
    #[default]
    Test,
    /// For training.
    Train,
    /// For early stopping.
    Validation,
    /// All rows, whatever their split.
    All,
}

/// Settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The data file: `main`, `hard`, `consensus`, or the subset `random500`, `posttrainbench245`,
    /// `hard50`, `context-seeking104`. Default: `main`.
    pub set: Set,
    /// The split: `test`, `train`, `validation` or `all`. Default: `test`.
    pub split: Split,
}

impl Settings for Config {
    const NAME: &'static str = "healthbench";
    const SUMMARY: &'static str = "HealthBench: health conversations with physicians' rubrics";
    const NEEDS: Needs = Needs::NOTHING;
}

impl Benchmark for Config {
    fn data_set(&self) -> Option<&str> {
        Some(data_set(self))
    }

    fn scores_form(&self) -> bool {
        true
    }

    fn load(&self, data: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        let data = required(data);
        let mut seen = BTreeSet::new();
        let mut tasks = Vec::new();
        for row in Row::read_all(&data.path)? {
            let id = row.text("prompt_id")?;
            if !seen.insert(id.clone()) {
                return Err(row.duplicate(id));
            }
            if self.split == Split::All || self.split == split_of(&id) {
                tasks.push(rubric_task("healthbench", &id, &row)?);
            }
        }
        let tasks = TaskSet::of_all(data_set(self), tasks, limit);
        Ok(TaskSet { grader: Grader::HealthBenchStrict, ..tasks })
    }
}

/// Name of the data set in the registry.
fn data_set(config: &Config) -> &'static str {
    match config.set {
        Set::Main => "healthbench",
        Set::Hard => "healthbench-hard",
        Set::Consensus => "healthbench-consensus",
        Set::Random500 => "healthbench-random500",
        Set::Posttrainbench245 => "healthbench-posttrainbench245",
        Set::Hard50 => "healthbench-hard50",
        Set::ContextSeeking104 => "healthbench-context-seeking104",
    }
}

/// Returns the split that a prompt belongs to.
///
/// ```
/// use preceptor_benchmarks::healthbench::{Split, split_of};
/// assert_ne!(split_of("an id that is not in the list"), Split::Test);
/// ```
pub fn split_of(prompt_id: &str) -> Split {
    if TEST_IDS.lines().any(|id| id == prompt_id) {
        return Split::Test;
    }
    let digest = Digest::of(prompt_id.as_bytes());
    let first = u8::from_str_radix(&digest.as_str()[..2], 16).expect("a digest is hexadecimal");
    if first < VALIDATION_BELOW { Split::Validation } else { Split::Train }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ROW: &str = r#"{"prompt_id": "a", "prompt": [{"role": "user", "content": "Q"}],
        "example_tags": ["theme:t"], "rubrics": [{"criterion": "c", "points": 5, "tags": ["axis:x"]},
        {"criterion": "d", "points": -3, "tags": []}], "ideal_completions_data": null, "canary": ""}"#;

    fn load_text(text: &str) -> Result<TaskSet, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, text).unwrap();
        let config = Config { split: Split::All, ..Config::default() };
        config.load(Some(&Data { path, is_published: false }), None)
    }

    #[test]
    fn a_row_becomes_a_task() {
        let set = load_text(&ROW.replace('\n', " ")).unwrap();
        let task = &set.tasks[0];
        assert_eq!(task.prompt.id.as_str(), "healthbench/a");
        assert_eq!(task.tags["theme"], "t");
        let label = task.label.rubric().unwrap();
        assert_eq!(label.rubric.criteria[1].points, -3.0);
        assert_eq!(set.grader, Grader::HealthBenchStrict);
        assert!(!set.shareable, "rows stay off published pages");
    }

    #[test]
    fn rows_of_another_schema_are_named() {
        let row = ROW.replace('\n', " ");
        let message = |from: &str, to: &str| {
            let error = load_text(&row.replace(from, to)).unwrap_err().to_string();
            let (_, detail) = error.split_once(": ").unwrap();
            detail.to_owned()
        };
        let messages = [
            message("\"user\"", "\"robot\""),
            message("\"points\": 5", "\"points\": 0"),
            message("\"points\": 5", "\"points\": \"five\""),
            message("\"rubrics\"", "\"rubriks\""),
            message("[{\"role\": \"user\", \"content\": \"Q\"}]", "[]"),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r#"
        field `prompt`, turn 1: expected the role `system`, `user` or `assistant`, found `robot`
        field `rubrics` has no item with positive points; such a row has no score
        field `rubrics`: invalid type: string "five", expected f64
        no field `rubrics` (there are `canary`, `example_tags`, `ideal_completions_data`, `prompt`, `prompt_id`, `rubriks`)
        field `prompt` is empty; expected at least one message
        "#);
        let twice = load_text(&format!("{row}\n{row}")).unwrap_err().to_string();
        assert!(twice.contains("its id `a` occurs before"), "{twice}");
    }

    #[test]
    fn the_test_list_has_500_ids_and_the_rest_is_divided_about_one_to_nine() {
        assert_eq!(TEST_IDS.lines().collect::<BTreeSet<_>>().len(), 500);
        let splits = (0..2000).map(|i| split_of(&format!("id {i}")));
        let validation = splits.filter(|split| *split == Split::Validation).count();
        assert!((150..260).contains(&validation), "{validation}");
    }
}
