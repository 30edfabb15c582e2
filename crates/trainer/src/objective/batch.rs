//! The sequences of an update, and counts over them.

use std::ops::Range;
use std::sync::Arc;

/// The completion tokens of one rollout or target.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Number of tokens, 1 or more.
    pub num_tokens: usize,
    /// The data of a sampled sequence; none for a target of supervised fine-tuning.
    pub sampled: Option<SampledData>,
}

/// The data of a rollout for a policy gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledData {
    /// Its advantage.
    pub advantage: f64,
    /// Log-probability of each token under the policy that sampled it.
    pub old_logprobs: Vec<f32>,
    /// Log-probability of each token in the sampler, where the objective corrects for the difference.
    pub sampler_logprobs: Option<Vec<f32>>,
    /// Log-probability of each token under the KL reference, if there is one.
    pub reference_logprobs: Option<Vec<f32>>,
    /// The ids that the sampler kept for each token, if tokens are scored under its filtered distribution.
    pub kept: Option<Arc<Vec<Vec<u32>>>>,
}

impl SampledData {
    /// Creates the data of a rollout without KL reference, sampler correction and kept ids.
    pub fn new(advantage: f64, old_logprobs: Vec<f32>) -> Self {
        Self {
            advantage,
            old_logprobs,
            sampler_logprobs: None,
            reference_logprobs: None,
            kept: None,
        }
    }
}

/// Counts over the whole batch of an update, which determine the weights of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Number of sequences.
    pub num_sequences: usize,
    /// Number of completion tokens.
    pub num_tokens: usize,
}

impl Totals {
    /// Counts `sequences`.
    pub fn count(sequences: &[Sequence]) -> Self {
        let num_tokens = sequences.iter().map(|sequence| sequence.num_tokens).sum();
        Self { num_sequences: sequences.len(), num_tokens }
    }
}

/// Sequences of an update, all or some.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The sequences.
    pub sequences: &'a [Sequence],
    /// Counts over all sequences of the update.
    pub totals: Totals,
}

impl<'a> Batch<'a> {
    /// Creates a batch of all sequences of an update.
    pub fn whole(sequences: &'a [Sequence]) -> Self {
        Self { sequences, totals: Totals::count(sequences) }
    }

    /// Returns the micro-batch of the sequences in `range`.
    ///
    /// # Panics
    ///
    /// If `range` is out of bounds.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        Self { sequences: &self.sequences[range], totals: self.totals }
    }

    /// Returns the number of completion tokens.
    pub fn num_tokens(&self) -> usize {
        Totals::count(self.sequences).num_tokens
    }
}
