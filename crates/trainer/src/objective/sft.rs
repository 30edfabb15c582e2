//! `sft`: cross-entropy of targets, here pseudo-references.
//!
//! ```text
//! L = 1/N sum_i 1/|s_i| sum_t -log pi(s_i,t | q_i, s_i,<t)     `sequence-mean-token-mean`
//! L = 1/T sum_i         sum_t -log pi(s_i,t | q_i, s_i,<t)     `token-mean`
//! ```
//!
//! N sequences and T tokens in the whole batch; tokens of the prompt have no term.
//!
//! Differs from the paper: it says "mean token cross-entropy" and not which mean over sequences.

use burn::tensor::Tensor;
use preceptor_core::{Needs, Settings};
use serde::{Deserialize, Serialize};

use super::tokens::Tokens;
use super::{Batch, Loss, Metrics, Objective};
use crate::Error;

/// The aggregation of token terms to a scalar.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// The mean over sequences of the mean over tokens.
    #[default]
    SequenceMeanTokenMean,
    /// The mean over all tokens.
    TokenMean,
}

/// Settings of [`Sft`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The aggregation of token terms: `sequence-mean-token-mean` or `token-mean`. Default:
    /// `sequence-mean-token-mean` (our choice).
    pub aggregation: Aggregation,
}

impl Settings for Config {
    const NAME: &'static str = "sft";
    const SUMMARY: &'static str = "cross-entropy of targets: supervised fine-tuning";
    const NEEDS: Needs = Needs::REFERENCE;
}

/// Cross-entropy.
#[derive(Clone, Debug)]
pub struct Sft {
    aggregation: Aggregation,
}

impl Sft {
    /// Creates the objective of `config`.
    pub fn new(config: &Config) -> Self {
        Self { aggregation: config.aggregation }
    }
}

impl Objective for Sft {
    fn loss(&self, logprobs: Tensor<1>, batch: Batch<'_>) -> Result<Loss, Error> {
        let tokens = Tokens::new(logprobs, batch)?;
        let weights = tokens.constant(|sequence| match self.aggregation {
            Aggregation::SequenceMeanTokenMean => {
                1.0 / (batch.totals.num_sequences * sequence.num_tokens) as f64
            }
            Aggregation::TokenMean => 1.0 / batch.totals.num_tokens as f64,
        });
        let mut metrics = Metrics { num_tokens: batch.num_tokens(), ..Metrics::default() };
        for (_, values) in tokens.sequences() {
            metrics.sum_logprob += values.iter().copied().map(f64::from).sum::<f64>();
        }
        Ok(Loss { loss: -(tokens.logprobs() * weights).sum(), metrics })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::Sequence;
    use super::*;

    fn loss(aggregation: Aggregation, logprobs: &[f32]) -> Result<Loss, Error> {
        let lengths = [1, 3];
        let sequences = lengths.map(|num_tokens| Sequence { num_tokens, sampled: None });
        let logprobs = Tensor::from_data(logprobs, &Device::flex());
        Sft::new(&Config { aggregation }).loss(logprobs, Batch::whole(&sequences))
    }

    #[test]
    fn sequences_or_tokens_have_equal_weight() {
        let logprobs = [-1.0, -2.0, -3.0, -4.0];
        let by_sequence = loss(Aggregation::SequenceMeanTokenMean, &logprobs).unwrap();
        assert_eq!(by_sequence.loss.into_scalar::<f32>(), 2.0);
        let by_token = loss(Aggregation::TokenMean, &logprobs).unwrap();
        assert_eq!(by_token.loss.into_scalar::<f32>(), 2.5);
        assert_eq!(by_token.metrics.cross_entropy(), Some(2.5));
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        let error = loss(Aggregation::TokenMean, &[-1.0, -2.0, f32::NEG_INFINITY, -4.0]);
        assert_eq!(
            error.unwrap_err().to_string().lines().next(),
            Some("compute a loss: the log-probability is -inf at token 1 of sequence 1"),
        );
    }

    #[test]
    fn batches_and_log_probabilities_must_match() {
        let found = loss(Aggregation::TokenMean, &[-1.0; 3]).unwrap_err();
        assert_eq!(found, Error::BatchTokenCount { found: 3, expected: 4 });
        let sft = Sft::new(&Config::default());
        let logprobs = Tensor::from_data([-1.0], &Device::flex());
        let empty = [1, 0].map(|num_tokens| Sequence { num_tokens, sampled: None });
        let found = sft.loss(logprobs.clone(), Batch::whole(&empty)).unwrap_err();
        assert_eq!(found, Error::EmptySequence { sequence: 1 });
        assert_eq!(sft.loss(logprobs, Batch::whole(&[])).unwrap_err(), Error::EmptyBatch);
    }
}
