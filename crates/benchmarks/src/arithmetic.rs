//! Sums of whole numbers, generated from a seed: a verifiable task on which small models have
//! headroom.
//!
//! Task number i asks for the sum of `terms` numbers of `digits` digits, drawn from stream i of the
//! generator's seed, so that a larger limit only adds tasks. The prompt is plain text: `shots`
//! worked examples of the same kind, from streams that no task uses, then the question
//! (`prompts/sum.md`):
//!
//! ```text
//! Question: What is 3 + 5?
//! Answer: 3 + 5 = \boxed{8}
//!
//! Question: What is 4 + 9?
//! Answer:
//! ```
//!
//! Tags: `carries`, the number of columns that carry when the terms are added one after another.

use std::collections::BTreeMap;

use preceptor_answers::GraderProfile;
use preceptor_core::{Digest, Needs, OutOfRange, Prompt, PromptBody, PromptId, Seed, Settings};
use preceptor_text::Template;
use serde::{Deserialize, Serialize};

use crate::{Benchmark, Data, Error, Grader, Label, Task, TaskSet};

/// A part of the digest: if the generator changes, so do the data.
const GENERATOR_VERSION: u32 = 1;
/// Tasks without a limit.
const DEFAULT_NUM_TASKS: usize = 200;
const PROMPT: &str = include_str!("../prompts/sum.md");

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Numbers to add, 2 to 8.
    pub terms: u32,
    /// Digits of each number, 1 to 9; the first is not 0.
    pub digits: u32,
    /// Worked examples before the question, 0 to 16.
    pub shots: u32,
    /// Seed of the generator; not the run's seed, which never changes the tasks.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { terms: 3, digits: 1, shots: 4, seed: 0 }
    }
}

impl Settings for Config {
    const NAME: &'static str = "arithmetic";
    const SUMMARY: &'static str = "generated sums with worked examples in the prompt";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let Self { terms, digits, shots, .. } = self;
        OutOfRange::check("terms", terms, (2..=8).contains(terms), "between 2 and 8")?;
        OutOfRange::check("digits", digits, (1..=9).contains(digits), "between 1 and 9")?;
        OutOfRange::check("shots", shots, *shots <= 16, "between 0 and 16")
    }
}

impl Benchmark for Config {
    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let template = Template::new("sum.md", PROMPT, &["sum", "answer"])
            .expect("the built-in prompt is tested");

        let root = Seed::root(self.seed);
        let shots: Vec<Vec<u64>> = (0..self.shots)
            .map(|i| draw_terms(self, root.derive("shots").derive_index(u64::from(i))))
            .collect();
        let mut prefix = String::new();
        for terms in &shots {
            prefix.push_str(&template.fill(&[&written(terms), &worked(terms)]));
            prefix.push_str("\n\n");
        }

        let settings = serde_json::to_string(self).expect("settings are plain data");
        let parts = [
            &GENERATOR_VERSION.to_le_bytes(),
            settings.as_bytes(),
            template.digest().as_str().as_bytes(),
        ];
        let digest = Digest::of_parts(parts);
        let task = |i: usize| {
            let terms = draw_terms(self, root.derive("tasks").derive_index(i as u64));
            let question = template.fill(&[&written(&terms), ""]);
            Task {
                prompt: Prompt::new(
                    PromptId::new(format!("arithmetic/{}x{}/{i}", self.terms, self.digits)),
                    PromptBody::Text(format!("{prefix}{}", question.trim_end())),
                ),
                question: format!("What is {}?", written(&terms)),
                label: Label::new(terms.iter().sum::<u64>().to_string()),
                tags: BTreeMap::from([("carries".to_owned(), carries(&terms).to_string())]),
            }
        };
        Ok(TaskSet {
            name: "arithmetic".to_owned(),
            tasks: (0..limit.unwrap_or(DEFAULT_NUM_TASKS)).map(task).collect(),
            labels_digest: digest.clone(),
            prompts_digest: digest,
            grader: Grader::Answer(GraderProfile::Verify),
            stop: vec!["\n".to_owned()],
            shareable: true,
        })
    }
}

fn draw_terms(config: &Config, seed: Seed) -> Vec<u64> {
    let low = 10_u64.pow(config.digits - 1);
    let span = 9 * low;
    (0..config.terms).map(|i| low + seed.derive_index(u64::from(i)).draw_below(span)).collect()
}

fn written(terms: &[u64]) -> String {
    terms.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ")
}

/// Returns the worked answer of an example: each partial sum, the last one boxed.
fn worked(terms: &[u64]) -> String {
    let mut total = terms[0];
    let mut steps = Vec::new();
    for (i, term) in terms.iter().enumerate().skip(1) {
        let sum = total + term;
        let result =
            if i + 1 == terms.len() { format!(r"\boxed{{{sum}}}") } else { sum.to_string() };
        steps.push(format!("{total} + {term} = {result}"));
        total = sum;
    }
    steps.join(", ")
}

fn carries(terms: &[u64]) -> u32 {
    let mut total = 0;
    let mut count = 0;
    for &term in terms {
        let (mut a, mut b, mut carry) = (total, term, 0);
        while a > 0 || b > 0 {
            carry = u64::from(a % 10 + b % 10 + carry > 9);
            count += carry as u32;
            a /= 10;
            b /= 10;
        }
        total += term;
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_prompt_shows_worked_examples_and_ends_where_the_answer_begins() {
        let config = Config { terms: 3, digits: 2, shots: 2, seed: 1 };
        let tasks = config.load(None, Some(1)).unwrap().tasks;
        let PromptBody::Text(text) = &tasks[0].prompt.body else { panic!("plain text") };
        insta::assert_snapshot!(text);
        insta::assert_snapshot!(tasks[0].label.display_text(), @"105");
    }

    #[test]
    fn a_smaller_limit_is_a_prefix_and_changes_no_digest() {
        let (few, many) =
            (Config::default().load(None, Some(5)), Config::default().load(None, Some(50)));
        let (few, many) = (few.unwrap(), many.unwrap());
        assert_eq!(few.tasks, many.tasks[..5]);
        assert_eq!(few.prompts_digest, many.prompts_digest);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let error = Config { terms: 9, ..Config::default() }.load(None, None).unwrap_err();
        insta::assert_snapshot!(error, @"use `benchmark.terms = 9`: must be between 2 and 8");
    }

    #[test]
    fn carries_are_counted_column_by_column() {
        assert_eq!(carries(&[5, 5]), 1);
        assert_eq!(carries(&[99, 1]), 2);
        assert_eq!(carries(&[12, 34, 60]), 1);
        assert_eq!(carries(&[1, 2, 3]), 0);
    }

    proptest! {
        #[test]
        fn worked_examples_end_in_the_right_sum(terms in prop::collection::vec(1_u64..1000, 2..8)) {
            let sum: u64 = terms.iter().sum();
            let boxed = format!(r"\boxed{{{sum}}}");
            prop_assert!(worked(&terms).ends_with(&boxed));
        }
    }
}
