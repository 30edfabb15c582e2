//! The completion tokens of a batch as flat vectors, sequence after sequence.

use burn::tensor::{Tensor, TensorData};

use super::{Batch, SampledData, Sequence};
use crate::Error;

/// The current log-probabilities of a batch's tokens, in the graph and as values.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    batch: Batch<'a>,
    logprobs: Tensor<1>,
    values: Vec<f32>,
}

impl<'a> Tokens<'a> {
    /// Checks that `logprobs` match `batch` and are finite.
    pub(super) fn new(logprobs: Tensor<1>, batch: Batch<'a>) -> Result<Self, Error> {
        let [found] = logprobs.dims();
        let expected = batch.num_tokens();
        if batch.sequences.is_empty() {
            return Err(Error::EmptyBatch);
        }
        if let Some(sequence) = batch.sequences.iter().position(|s| s.num_tokens == 0) {
            return Err(Error::EmptySequence { sequence });
        }
        if found != expected {
            return Err(Error::BatchTokenCount { found, expected });
        }
        let values = logprobs.clone().inner().try_into_vec_as::<f32>();
        let values = values.expect("floats are read as floats");
        let tokens = Self { batch, logprobs, values };
        for (sequence, (_, values)) in tokens.sequences().enumerate() {
            check_finite("the log-probability", sequence, values)?;
        }
        Ok(tokens)
    }

    /// Returns the log-probabilities in the graph.
    pub(super) fn logprobs(&self) -> Tensor<1> {
        self.logprobs.clone()
    }

    /// Returns the log-probabilities as a constant of the graph.
    pub(super) fn values(&self) -> Tensor<1> {
        self.constant_of(self.values.clone())
    }

    /// Iterates over sequences with the values of their log-probabilities.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (&'a Sequence, &[f32])> {
        let mut rest = self.values.as_slice();
        self.batch.sequences.iter().map(move |sequence| {
            let (values, after) = rest.split_at(sequence.num_tokens);
            rest = after;
            (sequence, values)
        })
    }

    /// Creates a constant of the graph: `value` of each sequence for all of its tokens.
    pub(super) fn constant(&self, mut value: impl FnMut(&Sequence) -> f64) -> Tensor<1> {
        let values = self.batch.sequences.iter().flat_map(|sequence| {
            let value = value(sequence) as f32;
            std::iter::repeat_n(value, sequence.num_tokens)
        });
        self.constant_of(values.collect())
    }

    /// Creates a constant of the graph with a value per token.
    pub(super) fn constant_of(&self, values: Vec<f32>) -> Tensor<1> {
        let data = TensorData::new(values, [self.values.len()]);
        Tensor::from_data(data, (&self.logprobs.device(), self.logprobs.dtype()))
    }
}

/// Returns the data of a sampled sequence, after checks that it is finite and complete.
pub(super) fn sampled(index: usize, sequence: &Sequence) -> Result<&SampledData, Error> {
    let hint = "sequences without an advantage belong in no batch of a policy gradient";
    let sampled = sequence.sampled.as_ref();
    let sampled = sampled.ok_or(Error::Missing { what: "advantage", sequence: index, hint })?;
    check_finite("the advantage", index, &[sampled.advantage as f32])?;
    check("the log-probability at sampling", index, sequence, &sampled.old_logprobs)?;
    if let Some(sampler) = &sampled.sampler_logprobs {
        check("the log-probability in the sampler", index, sequence, sampler)?;
    }
    if let Some(reference) = &sampled.reference_logprobs {
        check("the log-probability of the KL reference", index, sequence, reference)?;
    }
    Ok(sampled)
}

fn check(what: &'static str, index: usize, of: &Sequence, values: &[f32]) -> Result<(), Error> {
    if values.len() != of.num_tokens {
        let (found, expected) = (values.len(), of.num_tokens);
        return Err(Error::TokenCount { what, sequence: index, found, expected });
    }
    check_finite(what, index, values)
}

/// Rejects the first value of a sequence that is not finite.
pub(super) fn check_finite(
    term: &'static str,
    sequence: usize,
    values: &[f32],
) -> Result<(), Error> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(token) => {
            Err(Error::NonFiniteTerm { term, sequence, token, value: f64::from(values[token]) })
        }
        None => Ok(()),
    }
}
