//! The interface of an objective.

use burn::tensor::Tensor;

use super::batch::Batch;
use super::metrics::Metrics;
use crate::Error;

/// A loss to minimise.
pub trait Objective: Sync {
    /// Computes the loss of `batch`, a share of that of the whole batch.
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
    /// If log-probabilities and tokens don't match, a sequence is empty or lacks a value that is read, or
    /// a term is infinite or not a number.
    fn loss(&self, logprobs: Tensor<1>, batch: Batch<'_>) -> Result<Loss, Error>;
}

/// A loss with its measures.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The scalar from which the backward pass starts.
    pub loss: Tensor<1>,
    /// Sums over the tokens.
    pub metrics: Metrics,
}
