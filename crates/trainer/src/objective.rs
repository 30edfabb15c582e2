//! What training minimises: the plug point of objectives.
//!
//! An [`Objective`] turns the log-probabilities of a batch's completion tokens into one number with a
//! gradient. Every loss here is a weighted sum of token terms; how a token is weighed
//! ([`Aggregation`](grpo::Aggregation)) depends on the whole batch only through its [`Totals`]. So the
//! loss of a micro-batch is its share of the batch's loss: the shares, and their gradients, add up to
//! those of the whole batch.

pub mod grpo;
pub mod sft;

mod metrics;
mod tokens;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::Error;

pub use metrics::{Divergence, Metrics};

/// What is minimised.
pub trait Objective: Sync {
    /// The loss of `batch`, a share of that of the whole batch.
    ///
    /// `logprobs` are the current policy's natural log-probabilities of the completion tokens, sequence
    /// after sequence.
    ///
    /// # Shapes
    ///
    /// `logprobs`: `[tokens]`, all sequences together; the loss: `[1]`, in the graph of `logprobs`.
    ///
    /// # Errors
    ///
    /// If log-probabilities and tokens don't match, a sequence is empty or lacks what is read of it, or
    /// a term is infinite or not a number.
    fn loss(&self, logprobs: Tensor<1>, batch: Batch<'_>) -> Result<Loss, Error>;
}

/// A loss and what was measured on the way.
#[derive(Clone, Debug)]
pub struct Loss {
    /// One number, to go backward from.
    pub loss: Tensor<1>,
    /// Sums over the tokens.
    pub metrics: Metrics,
}

/// The completion tokens of one rollout or target.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// How many there are, 1 or more.
    pub num_tokens: usize,
    /// What is known of a sampled sequence; nothing for a target of supervised fine-tuning.
    pub sampled: Option<Sampled>,
}

/// What is known of a rollout when it is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// Its advantage.
    pub advantage: f64,
    /// Log-probability of each token under the policy that sampled it.
    pub old_logprobs: Vec<f32>,
    /// Log-probability of each token under the KL reference, where there is one.
    pub reference_logprobs: Option<Vec<f32>>,
    /// The ids that the sampler kept for each token, where tokens are scored under the distribution
    /// that it cut.
    pub kept: Option<Arc<Vec<Vec<u32>>>>,
}

/// What the weights of tokens depend on: counts over the whole batch of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Sequences.
    pub num_sequences: usize,
    /// Completion tokens.
    pub num_tokens: usize,
}

impl Totals {
    /// The counts of `sequences`.
    pub fn of(sequences: &[Sequence]) -> Self {
        let num_tokens = sequences.iter().map(|sequence| sequence.num_tokens).sum();
        Self { num_sequences: sequences.len(), num_tokens }
    }
}

/// Sequences of an update, all or some.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The sequences at hand.
    pub sequences: &'a [Sequence],
    /// Counts over all sequences of the update.
    pub totals: Totals,
}

impl<'a> Batch<'a> {
    /// All sequences of an update.
    pub fn whole(sequences: &'a [Sequence]) -> Self {
        Self { sequences, totals: Totals::of(sequences) }
    }

    /// The micro-batch of the sequences in `range`.
    ///
    /// # Panics
    ///
    /// If `range` reaches past the sequences.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        Self { sequences: &self.sequences[range], totals: self.totals }
    }

    /// Number of completion tokens at hand.
    pub fn num_tokens(&self) -> usize {
        Totals::of(self.sequences).num_tokens
    }
}
