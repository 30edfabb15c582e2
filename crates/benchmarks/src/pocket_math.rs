//! `pocket-math`: short chains of sums and differences, generated from a seed, that a model of half a
//! million parameters can learn to solve with worked steps.
//!
//! ```text
//! question:  85-5+8-4
//! solution:  85-5=80;+8=88;-4=84;\boxed{84}
//! label:     84
//! ```
//!
//! A chain begins with a number of two digits and has 2 to 5 operations, each with a number of one
//! digit; every partial result is in 0 to 99 and written with two digits. Task number i has
//! `min-operations + i mod (max - min + 1)` operations and is drawn from stream i of the generator's
//! seed, so that a larger limit only adds tasks.
//!
//! **Splits.** A chain belongs to one split by the first byte of its question's digest: below 32
//! `test-time` (the questions that a model may be trained on, without their labels), below 64
//! `held-out`, else `pretraining`, which no benchmark draws from. So no question is in two splits,
//! whatever the seeds.
//!
//! Tags: `operations`; `hard-steps`, the number of steps that carry or borrow with an 8 or a 9.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_answers::GraderProfile;
use preceptor_core::{
    Digest, Message, Needs, OutOfRange, Prompt, PromptBody, PromptId, Role, Seed, Settings,
};
use serde::{Deserialize, Serialize};

use crate::{Benchmark, Data, Error, Grader, Label, Task, TaskSet};

/// A part of the digest: if the generator changes, so do the data.
const GENERATOR_VERSION: u32 = 1;
/// Tasks without a limit.
const DEFAULT_NUM_TASKS: usize = 256;
/// The largest number of tasks: two thirds of the chains of two operations in a split.
const MAX_NUM_TASKS: usize = 2000;
/// First bytes of digests that belong to `test-time`, and from there to `held-out`.
const TEST_TIME_BELOW: u8 = 32;
const HELD_OUT_BELOW: u8 = 64;

/// The split of chains.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Questions that a model may be trained on, without their labels.
    #[default]
    TestTime,
    /// Questions that are never trained on.
    HeldOut,
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// `test-time` or `held-out`. Default: `test-time`.
    pub split: Split,
    /// Operations of the shortest chains, 2 to 8. Default: 2.
    pub min_operations: u32,
    /// Operations of the longest chains, `min-operations` to 8. Default: 5.
    pub max_operations: u32,
    /// Seed of the generator; not the run's seed, which never changes the tasks. Default: 0.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { split: Split::TestTime, min_operations: 2, max_operations: 5, seed: 0 }
    }
}

impl Settings for Config {
    const NAME: &'static str = "pocket-math";
    const SUMMARY: &'static str = "generated chains of sums and differences, with a held-out split";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let Self { min_operations: min, max_operations: max, .. } = self;
        let is_allowed = (2..=8).contains(min);
        OutOfRange::check("min-operations", min, is_allowed, "between 2 and 8")?;
        let is_allowed = (*min..=8).contains(max);
        OutOfRange::check("max-operations", max, is_allowed, "between `min-operations` and 8")
    }
}

impl Benchmark for Config {
    fn load(&self, _: Option<&Data>, limit: Option<usize>) -> Result<TaskSet, Error> {
        self.check()?;
        let Config { min_operations: min, max_operations: max, .. } = *self;
        let num_tasks = limit.unwrap_or(DEFAULT_NUM_TASKS);
        OutOfRange::check("limit", num_tasks, num_tasks <= MAX_NUM_TASKS, "between 0 and 2000")?;

        let root = Seed::root(self.seed).derive("pocket-math");
        let mut seen = BTreeSet::new();
        let tasks = (0..num_tasks).map(|i| {
            let operations = min + u32::try_from(i).expect("few") % (max - min + 1);
            let seed = root.derive_index(i as u64);
            let chain = drawn(seed, |below| {
                let chain = Chain::draw(operations, below);
                let fits = chain.split() == Some(self.split) && seen.insert(chain.question());
                fits.then_some(chain)
            });
            task(&chain)
        });
        let tasks = tasks.collect();
        let settings = serde_json::to_string(self).expect("settings are plain data");
        let digest = Digest::of_parts([&GENERATOR_VERSION.to_le_bytes(), settings.as_bytes()]);
        Ok(TaskSet {
            name: "pocket-math".to_owned(),
            tasks,
            labels_digest: digest.clone(),
            prompts_digest: digest,
            grader: Grader::Answer(GraderProfile::Verify),
            stop: Vec::new(),
            shareable: true,
        })
    }
}

/// An operation of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// True if the number is subtracted.
    pub minus: bool,
    /// 1 to 9.
    pub number: u32,
}

impl Step {
    /// Applies the step to `from`; none where the result leaves 0 to 99.
    pub fn apply(self, from: u32) -> Option<u32> {
        let result =
            if self.minus { from.checked_sub(self.number) } else { Some(from + self.number) };
        result.filter(|result| *result < 100)
    }

    /// Returns whether the step from `from` carries or borrows.
    pub fn carries(self, from: u32) -> bool {
        if self.minus { from % 10 < self.number } else { from % 10 + self.number > 9 }
    }

    /// Formats the step: `+8` or `-4`.
    pub fn text(self) -> String {
        format!("{}{}", if self.minus { '-' } else { '+' }, self.number)
    }
}

/// A chain of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number it begins with, 1 to 99.
    pub first: u32,
    /// The operations; every partial result is in 0 to 99.
    pub steps: Vec<Step>,
}

impl Chain {
    /// Draws a chain of `operations`; `below(n)` draws from `0..n`.
    pub fn draw(operations: u32, below: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut draw = |n: u64| u32::try_from(below(n)).expect("draws are small");
        let first = 1 + draw(99);
        let mut now = first;
        let mut steps = Vec::new();
        while (steps.len() as u32) < operations {
            let step = Step { minus: draw(2) == 1, number: 1 + draw(9) };
            // One of the two signs always fits, so this ends.
            if let Some(next) = step.apply(now) {
                steps.push(step);
                now = next;
            }
        }
        Self { first, steps }
    }

    /// Formats the question: `85-5+8-4`.
    pub fn question(&self) -> String {
        let steps = self.steps.iter().map(|step| step.text());
        format!("{:02}{}", self.first, steps.collect::<String>())
    }

    /// Returns the result after each step.
    pub fn results(&self) -> Vec<u32> {
        let results = self.steps.iter().scan(self.first, |now, step| {
            *now = step.apply(*now).expect("partial results are in 0 to 99");
            Some(*now)
        });
        results.collect()
    }

    /// Formats the worked solution through `results`: `85-5=80;+8=88;-4=84;\boxed{84}`.
    pub fn worked(&self, results: &[u32]) -> String {
        let mut text = format!("{:02}", self.first);
        for (step, result) in self.steps.iter().zip(results) {
            text.push_str(&format!("{}={result:02};", step.text()));
        }
        let last = results.last().copied().unwrap_or(self.first);
        format!("{text}\\boxed{{{last:02}}}")
    }

    /// Returns the split of the chain; none is for pretraining.
    pub fn split(&self) -> Option<Split> {
        split_of(&self.question())
    }

    fn hard_steps(&self) -> usize {
        let befores = std::iter::once(self.first).chain(self.results());
        let hard = |(step, from): &(&Step, u32)| step.number >= 8 && step.carries(*from);
        self.steps.iter().zip(befores).filter(hard).count()
    }
}

/// Returns the split of a text of a synthetic benchmark; none is for pretraining.
pub(crate) fn split_of(text: &str) -> Option<Split> {
    let digest = Digest::of(text.as_bytes());
    let first = u8::from_str_radix(&digest.as_str()[..2], 16).expect("a digest is hexadecimal");
    match first {
        _ if first < TEST_TIME_BELOW => Some(Split::TestTime),
        _ if first < HELD_OUT_BELOW => Some(Split::HeldOut),
        _ => None,
    }
}

/// Returns the first value that `wanted` accepts, from attempts with streams of `seed`.
pub(crate) fn drawn<T>(
    seed: Seed,
    mut wanted: impl FnMut(&mut dyn FnMut(u64) -> u64) -> Option<T>,
) -> T {
    let mut attempt = 0;
    loop {
        let stream = seed.derive_index(attempt);
        let mut number = 0;
        let mut below = |n: u64| {
            number += 1;
            stream.derive_index(number).draw_below(n)
        };
        if let Some(found) = wanted(&mut below) {
            return found;
        }
        attempt += 1;
    }
}

fn task(chain: &Chain) -> Task {
    let question = chain.question();
    let result = chain.results().last().copied().unwrap_or(chain.first);
    let message = Message { role: Role::User, content: question.clone() };
    Task {
        prompt: Prompt::new(
            PromptId::new(format!("pocket-math/{question}")),
            PromptBody::Chat(vec![message]),
        ),
        question,
        label: Label::new(result.to_string()),
        tags: BTreeMap::from([
            ("operations".to_owned(), chain.steps.len().to_string()),
            ("hard-steps".to_owned(), chain.hard_steps().to_string()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::record::Score;
    use proptest::prelude::*;

    use super::*;
    use crate::grade;

    fn chain(question: &str) -> Chain {
        let (first, mut rest) = question.split_at(2);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let number = rest[1..2].parse().unwrap();
            steps.push(Step { minus: rest.starts_with('-'), number });
            rest = &rest[2..];
        }
        Chain { first: first.parse().unwrap(), steps }
    }

    #[test]
    fn a_chain_is_asked_and_worked() {
        let chain = chain("85-5+8-4");
        assert_eq!(chain.question(), "85-5+8-4");
        assert_eq!(chain.results(), [80, 88, 84]);
        assert_eq!(chain.worked(&chain.results()), r"85-5=80;+8=88;-4=84;\boxed{84}");
        assert_eq!(chain.worked(&[80, 78, 74]), r"85-5=80;+8=78;-4=74;\boxed{74}");
    }

    #[test]
    fn carries_with_a_large_number_are_hard() {
        assert_eq!(chain("12+9-4-8").hard_steps(), 2);
        assert_eq!(chain("12-9+8+8").hard_steps(), 2);
        assert_eq!(chain("15+8+7").hard_steps(), 1);
    }

    #[test]
    fn splits_share_no_question_and_pretraining_has_most() {
        let load = |split, seed| {
            let set = Config { split, seed, ..Config::default() }.load(None, Some(1500)).unwrap();
            set.tasks.into_iter().map(|task| task.question).collect::<BTreeSet<_>>()
        };
        let (train, held_out) = (load(Split::TestTime, 0), load(Split::HeldOut, 1));
        assert_eq!((train.len(), held_out.len()), (1500, 1500), "no question occurs twice");
        assert!(train.is_disjoint(&held_out));
        assert!(train.iter().all(|question| chain(question).split() == Some(Split::TestTime)));
    }

    #[test]
    fn a_smaller_limit_is_a_prefix_and_changes_no_digest() {
        let (few, many) =
            (Config::default().load(None, Some(5)), Config::default().load(None, Some(50)));
        let (few, many) = (few.unwrap(), many.unwrap());
        assert_eq!(few.tasks, many.tasks[..5]);
        assert_eq!(few.prompts_digest, many.prompts_digest);
        let operations = few.tasks.iter().map(|task| task.tags["operations"].as_str());
        assert_eq!(operations.collect::<Vec<_>>(), ["2", "3", "4", "5", "2"]);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = Config { max_operations: 1, ..Config::default() };
        let error = config.load(None, None).unwrap_err();
        insta::assert_snapshot!(error, @"use `benchmark.max-operations = 1`: must be between `min-operations` and 8");
        let error = Config::default().load(None, Some(5000)).unwrap_err();
        insta::assert_snapshot!(error, @"use `benchmark.limit = 5000`: must be between 0 and 2000");
    }

    proptest! {
        #[test]
        fn the_true_solution_is_right_and_another_result_is_wrong(seed in any::<u64>()) {
            let drawn_chain = drawn(Seed::root(seed), |below| Some(Chain::draw(4, below)));
            prop_assert_eq!(&chain(&drawn_chain.question()), &drawn_chain);
            let task = task(&drawn_chain);
            let mut results = drawn_chain.results();
            let score = |text: &str| grade(GraderProfile::Verify, &task.label, text).score;
            prop_assert_eq!(score(&drawn_chain.worked(&results)), Score::Scored(1.0));
            *results.last_mut().unwrap() = (results[3] + 10) % 100;
            prop_assert_eq!(score(&drawn_chain.worked(&results)), Score::Scored(0.0));
        }
    }
}
