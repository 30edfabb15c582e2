//! The index of an explorer: a row of numbers for each group, and the prompts.

use std::collections::BTreeMap;

use preceptor_core::record::PromptRecord;
use preceptor_core::{Digest, PromptId};
use serde::Serialize;
use serde_json::Value;

use crate::explorer::named::SetHead;
use crate::explorer::view::{GroupView, mean, rounded};

/// Characters of a question that the index holds, for the list and for searching.
const HEAD: usize = 300;
/// Prompts in a file.
const PROMPTS_PER_FILE: usize = 200;

/// Index of one benchmark.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Index {
    pub(crate) format: u32,
    pub(crate) experiment: String,
    pub(crate) title: String,
    pub(crate) benchmark: String,
    pub(crate) code_revision: String,
    /// True if scores are shares of points rather than right or wrong.
    pub(crate) has_rubric: bool,
    /// True if there are files of tokens.
    pub(crate) has_tokens: bool,
    pub(crate) prompts_per_file: usize,
    /// Code points that are shown as such, as first and last of a range.
    pub(crate) hidden: Vec<(u32, u32)>,
    pub(crate) flag_names: Vec<String>,
    /// Specifications of stages: everything that their records depend on.
    pub(crate) specs: BTreeMap<Digest, Value>,
    pub(crate) prompts: Vec<PromptHead>,
    pub(crate) sets: Vec<SetIndex>,
}

/// A prompt in the index.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PromptHead {
    id: String,
    /// The start of the question.
    question: String,
    label: String,
    tags: BTreeMap<String, String>,
}

/// A whole prompt.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PromptText {
    question: String,
    /// The prompt that the policy read.
    asked: String,
}

/// The groups of a set, as columns.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetIndex {
    #[serde(flatten)]
    pub(crate) head: SetHead,
    prompts: Vec<usize>,
    /// Empty if the set has no steps.
    steps: Vec<u64>,
    /// The groups whose texts are in slices, if some were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<Vec<usize>>,
    /// The first of the kept groups in each slice, with the slice's number.
    slices: Vec<(usize, u32)>,
    /// Position of the first group within its slice.
    offset: usize,
    scores: Vec<Option<f64>>,
    lengths: Vec<f64>,
    /// By estimate.
    estimate_scores: Vec<Vec<Option<f64>>>,
    /// Means by reward.
    reward_means: Vec<Vec<Option<f64>>>,
    flags: Vec<Vec<usize>>,
}

impl SetIndex {
    pub(crate) fn new(head: SetHead, offset: usize) -> Self {
        Self {
            prompts: Vec::new(),
            steps: Vec::new(),
            kept: None,
            slices: Vec::new(),
            offset,
            scores: Vec::new(),
            lengths: Vec::new(),
            estimate_scores: vec![Vec::new(); head.estimates.len()],
            reward_means: vec![Vec::new(); head.rewards.len()],
            flags: Vec::new(),
            head,
        }
    }

    /// Adds a group. `flags` are positions in [`Index::flag_names`]; a group without a slice is left out.
    pub(crate) fn add(
        &mut self,
        prompt: usize,
        step: Option<u64>,
        group: &GroupView,
        flags: Vec<usize>,
        slice: Option<u32>,
    ) {
        let group_number = self.prompts.len();
        match slice {
            Some(slice) => {
                let place = self.kept.as_ref().map_or(group_number, Vec::len);
                if self.slices.last().is_none_or(|(_, last)| *last != slice) {
                    self.slices.push((place, slice));
                }
                self.kept.iter_mut().for_each(|kept| kept.push(group_number));
            }
            // Every group before the first that is left out was kept.
            None => drop(self.kept.get_or_insert_with(|| (0..group_number).collect())),
        }
        self.prompts.push(prompt);
        self.steps.extend(step);
        let rollouts = &group.rollouts;
        self.scores.push(mean(rollouts.iter().map(|rollout| rollout.score)).map(rounded));
        let lengths = rollouts.iter().map(|rollout| Some(rollout.num_tokens as f64));
        self.lengths.push(mean(lengths).unwrap_or(0.0).round());
        for (column, view) in self.estimate_scores.iter_mut().zip(&group.estimates) {
            column.push(view.as_ref().and_then(|view| view.score).map(rounded));
        }
        for (column, view) in self.reward_means.iter_mut().zip(&group.rewards) {
            column.push(view.as_ref().and_then(|view| view.mean()).map(rounded));
        }
        self.flags.push(flags);
    }

    /// Returns the number of groups.
    pub(crate) fn num_groups(&self) -> usize {
        self.prompts.len()
    }
}

/// The prompts of a benchmark, numbered in the order in which they were first met.
#[derive(Default)]
pub(crate) struct Prompts {
    numbers: BTreeMap<PromptId, usize>,
    heads: Vec<PromptHead>,
    texts: Vec<PromptText>,
}

impl Prompts {
    /// Returns the number of a prompt, which is added if it is new.
    pub(crate) fn number(&mut self, id: &PromptId, record: Option<&PromptRecord>) -> usize {
        if let Some(known) = self.numbers.get(id) {
            return *known;
        }
        let number = self.heads.len();
        self.numbers.insert(id.clone(), number);
        let question = record.map(|record| record.question.as_str()).unwrap_or_default();
        self.heads.push(PromptHead {
            id: id.to_string(),
            question: question.chars().take(HEAD).collect(),
            label: String::new(),
            tags: record.map(|record| record.tags.clone()).unwrap_or_default(),
        });
        self.texts.push(PromptText {
            question: question.to_owned(),
            asked: record.map(|record| record.prompt.display_text()).unwrap_or_default(),
        });
        number
    }

    /// Adds the label of a prompt, if it has none yet.
    pub(crate) fn set_label(&mut self, number: usize, label: &str) {
        let known = &mut self.heads[number].label;
        if known.is_empty() {
            label.clone_into(known);
        }
    }

    /// Returns the heads, and the texts of each file.
    pub(crate) fn into_parts(self) -> (Vec<PromptHead>, Vec<String>) {
        let file =
            |texts: &[PromptText]| serde_json::to_string(texts).expect("prompts are plain data");
        (self.heads, self.texts.chunks(PROMPTS_PER_FILE).map(file).collect())
    }
}

impl Index {
    pub(crate) const FORMAT: u32 = 1;
    pub(crate) const PROMPTS_PER_FILE: usize = PROMPTS_PER_FILE;
}
