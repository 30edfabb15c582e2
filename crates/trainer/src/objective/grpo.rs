//! `grpo`: group-relative policy optimisation and its relatives.
//!
//! ```text
//! r_t    = pi(o_t | q, o_<t) / pi_old(o_t | q, o_<t)                  ratio `token`
//!        = sg[s] pi(o_t) / sg[pi(o_t)],  s = exp(mean_t log r_t)      ratio `sequence`
//! term_t = -min(r_t A, clip(r_t, 1 - clip-low, 1 + clip-high) A) + loss-kl.coefficient k_t
//! L      = 1/N sum_i 1/|o_i| sum_t term_t                             `sequence-mean-token-mean`
//!        = 1/T sum_i         sum_t term_t                             `token-mean`
//!        = 1/N 1/max-new-tokens sum_i sum_t term_t                    `constant`
//! k_t    = l, l^2 / 2, exp(-l) + l - 1  for  l = log pi - log pi_ref  `k1`, `k2`, `k3`
//! ```
//!
//! With `sampler-correction`, the first part of each term is multiplied by the weight of
//! [`super::SamplerCorrection`].
//!
//! N rollouts and T tokens in the whole batch, `sg` stops the gradient. Advantages A come from
//! [`crate::advantages()`], which applies KL in the reward, baseline and `std`.
//!
//! Sources: GRPO (Shao et al. 2024, arXiv 2402.03300); `token-mean` and `clip-high` from DAPO (Yu et
//! al. 2025, arXiv 2503.14476); `constant` and `std = false` from Dr. GRPO (Liu et al. 2025, arXiv
//! 2503.20783); ratio `sequence` from GSPO (Zheng et al. 2025, arXiv 2507.18071, its token form with
//! equal advantages, whose gradient is that of the sequence form); estimators from Schulman 2020,
//! *Approximating KL divergence*.
//!
//! Differs from the paper: GRPO has its KL term in the loss; here it is in the reward by default, as
//! in *Compute as Teacher*. The ratio is not bounded before it is clipped: one that overflows is an error.

use std::borrow::Cow;
use std::fmt;

use burn::tensor::Tensor;
use preceptor_core::{Needs, OutOfRange, Settings};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tokens::{Tokens, check_finite, sampled};
use super::{Batch, Loss, Metrics, Objective, SampledData, SamplerCorrection, Sequence, Totals};
use crate::Error;
use crate::advantages::{Baseline, Normalization};

/// The aggregation of token terms to a scalar.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// The mean over rollouts of the mean over tokens.
    #[default]
    SequenceMeanTokenMean,
    /// The mean over all tokens.
    TokenMean,
    /// The sum over all tokens, divided by the number of rollouts times the maximum number of tokens.
    Constant,
}

/// The unit of the probability ratio.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Ratio {
    /// Each token.
    #[default]
    Token,
    /// The rollout: the geometric mean of its tokens' ratios.
    Sequence,
}

/// An estimator of the KL divergence from the reference at one token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum KlEstimator {
    /// The log-ratio. Its gradient does not depend on the reference.
    K1,
    /// Half the square of the log-ratio.
    K2,
    /// `exp(-l) + l - 1` for the log-ratio `l`.
    #[default]
    K3,
}

/// The temperature at which log-probabilities of the policy gradient are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogprobTemperature {
    /// The temperature of the rollouts' sampling.
    #[default]
    Sampling,
    /// 1: the unmodified distribution.
    One,
}

impl Serialize for LogprobTemperature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sampling => serializer.serialize_str("sampling"),
            Self::One => serializer.serialize_f64(1.0),
        }
    }
}

impl<'de> Deserialize<'de> for LogprobTemperature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Temperatures;
        impl Visitor<'_> for Temperatures {
            type Value = LogprobTemperature;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`\"sampling\"` or `1.0`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "sampling" => Ok(LogprobTemperature::Sampling),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                match number {
                    1.0 => Ok(LogprobTemperature::One),
                    other => Err(E::invalid_value(Unexpected::Float(other), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_f64(number as f64)
            }
        }
        deserializer.deserialize_any(Temperatures).map_err(D::Error::custom)
    }
}

impl schemars::JsonSchema for LogprobTemperature {
    fn schema_name() -> Cow<'static, str> {
        "LogprobTemperature".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": ["sampling", 1.0] })
    }
}

/// The KL term of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LossKl {
    /// Estimator: `k1`, `k2` or `k3`. Default: `k3` (GRPO).
    pub estimator: KlEstimator,
    /// Weight of the term, 0 to 1000. Default: 0 (*Compute as Teacher* has its KL term in the reward).
    pub coefficient: f64,
}

impl Default for LossKl {
    fn default() -> Self {
        Self { estimator: KlEstimator::K3, coefficient: 0.0 }
    }
}

/// Settings of [`Grpo`], and of its advantages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// The aggregation of token terms: `sequence-mean-token-mean`, `token-mean` or `constant`. Default:
    /// `sequence-mean-token-mean` (paper).
    pub aggregation: Aggregation,
    /// The distance below 1 at which a ratio is clipped, 0 to 1. Default: 0.2 (verl 0.5).
    pub clip_low: f64,
    /// The distance above 1 at which a ratio is clipped, 0 to 1000. Default: 0.2 (verl 0.5); DAPO: 0.28.
    pub clip_high: f64,
    /// The unit of the ratio: `token` or `sequence`. Default: `token` (paper).
    pub ratio: Ratio,
    /// True to divide advantages by the standard deviation of the group. Default: true (paper).
    pub std: bool,
    /// The baseline of rewards: `group-mean` or `leave-one-out`. Default: `group-mean` (paper).
    pub baseline: Baseline,
    /// Weight of the KL divergence from the reference in the reward, 0 to 1000, per nat. Default:
    /// 0.001 (paper).
    pub reward_kl: f64,
    /// The KL term of the loss. Default: none.
    pub loss_kl: LossKl,
    /// Correction for a sampler whose probabilities differ from the trainer's. It needs
    /// `old-logprobs = "recompute"`. Default: none.
    #[serde(skip_serializing_if = "is_default")]
    pub sampler_correction: SamplerCorrection,
    /// The temperature that divides logits before log-probabilities are computed, in the ratio and in
    /// the KL terms: `sampling` for that of the rollouts, or `1.0`. Default: `sampling`, so that the
    /// gradient is that of the sampled distribution (as in verl 0.5, which the paper's authors used).
    #[serde(skip_serializing_if = "is_default")]
    pub temperature: LogprobTemperature,
    /// True to score tokens under the distribution after top-k, top-p and min-p, over the tokens that the
    /// sampler kept. Otherwise the gradient treats rollouts as samples of the whole distribution. Default:
    /// false (as in verl 0.5).
    #[serde(skip_serializing_if = "is_default")]
    pub renormalise: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aggregation: Aggregation::SequenceMeanTokenMean,
            clip_low: 0.2,
            clip_high: 0.2,
            ratio: Ratio::Token,
            std: true,
            baseline: Baseline::GroupMean,
            reward_kl: 1e-3,
            loss_kl: LossKl::default(),
            sampler_correction: SamplerCorrection::default(),
            temperature: LogprobTemperature::Sampling,
            renormalise: false,
        }
    }
}

impl Settings for Config {
    const NAME: &'static str = "grpo";
    const SUMMARY: &'static str = "clipped policy gradient with group-normalised advantages";
    const NEEDS: Needs = Needs::NOTHING;

    fn check(&self) -> Result<(), OutOfRange> {
        let ranges = [
            ("clip-low", self.clip_low, 1.0, "between 0 and 1"),
            ("clip-high", self.clip_high, 1000.0, "between 0 and 1000"),
            ("reward-kl", self.reward_kl, 1000.0, "between 0 and 1000"),
            ("loss-kl.coefficient", self.loss_kl.coefficient, 1000.0, "between 0 and 1000"),
        ];
        let check = |(key, value, most, allowed): (&str, f64, f64, &'static str)| {
            OutOfRange::check(key, value, (0.0..=most).contains(&value), allowed)
        };
        ranges.into_iter().try_for_each(check)?;
        self.sampler_correction.check().map_err(|error| error.within("sampler-correction"))
    }
}

impl Config {
    /// Turns the rewards of a group into advantages.
    pub fn normalization(&self) -> Normalization {
        Normalization { std: self.std, baseline: self.baseline }
    }

    /// Returns true if log-probabilities of a KL reference are needed.
    pub fn needs_reference(&self) -> bool {
        self.reward_kl > 0.0 || self.loss_kl.coefficient > 0.0
    }
}

/// The clipped policy gradient.
#[derive(Clone, Debug)]
pub struct Grpo {
    config: Config,
    max_new_tokens: u32,
}

impl Grpo {
    /// Creates the objective of `config` for rollouts of at most `max_new_tokens`, 1 or more.
    ///
    /// # Panics
    ///
    /// If `max_new_tokens` is 0.
    pub fn new(config: &Config, max_new_tokens: u32) -> Self {
        assert!(max_new_tokens > 0, "rollouts have tokens");
        Self { config: config.clone(), max_new_tokens }
    }

    fn weight(&self, sequence: &Sequence, totals: Totals) -> f64 {
        let denominator = match self.config.aggregation {
            Aggregation::SequenceMeanTokenMean => totals.num_sequences * sequence.num_tokens,
            Aggregation::TokenMean => totals.num_tokens,
            Aggregation::Constant => totals.num_sequences * self.max_new_tokens as usize,
        };
        1.0 / denominator as f64
    }

    /// Returns the log-ratios of the current to the sampling policy, one per token.
    fn log_ratios(&self, current: &[f32], old: &[f32]) -> Vec<f32> {
        let pairs = current.iter().zip(old);
        match self.config.ratio {
            Ratio::Token => pairs.map(|(current, old)| current - old).collect(),
            Ratio::Sequence => {
                let sum: f64 = pairs.map(|(&new, &old)| f64::from(new) - f64::from(old)).sum();
                vec![(sum / current.len() as f64) as f32; current.len()]
            }
        }
    }

    /// Returns the weights of a sequence's tokens for the difference between sampler and trainer.
    fn sampler_weights(&self, index: usize, sampled: &SampledData) -> Result<Vec<f32>, Error> {
        let sampler = sampled.sampler_logprobs.as_ref().ok_or(Error::Missing {
            what: "log-probabilities in the sampler",
            sequence: index,
            hint: "record them while sampling, or set `sampler-correction.kind` to `none`",
        })?;
        Ok(self.config.sampler_correction.weights(&sampled.old_logprobs, sampler))
    }

    /// Computes the KL term of every token, times its coefficient.
    fn kl(&self, tokens: &Tokens<'_>) -> Result<Tensor<1>, Error> {
        let mut constants = Vec::new();
        for (index, (sequence, current)) in tokens.sequences().enumerate() {
            let reference = sequence.sampled.as_ref().and_then(|s| s.reference_logprobs.as_ref());
            let reference = reference.ok_or(Error::Missing {
                what: "log-probabilities of the KL reference",
                sequence: index,
                hint: "score the rollouts with the reference, or set `loss-kl.coefficient` to 0",
            })?;
            if self.config.loss_kl.estimator == KlEstimator::K3 {
                let pairs = current.iter().zip(reference);
                let ratios: Vec<_> =
                    pairs.map(|(new, reference)| (reference - new).exp()).collect();
                check_finite("the probability ratio in `loss-kl`", index, &ratios)?;
            }
            constants.extend_from_slice(reference);
        }
        let log_ratio = tokens.logprobs() - tokens.constant_of(constants);
        let kl = match self.config.loss_kl.estimator {
            KlEstimator::K1 => log_ratio,
            KlEstimator::K2 => log_ratio.clone() * log_ratio * 0.5,
            KlEstimator::K3 => log_ratio.clone().neg().exp() + log_ratio - 1.0,
        };
        Ok(kl * self.config.loss_kl.coefficient)
    }
}

impl Objective for Grpo {
    fn loss(&self, logprobs: Tensor<1>, batch: Batch<'_>) -> Result<Loss, Error> {
        let tokens = Tokens::new(logprobs, batch)?;
        let mut metrics = Metrics { num_tokens: batch.num_tokens(), ..Metrics::default() };
        let (mut log_ratios, mut advantages, mut corrections) =
            (Vec::new(), Vec::new(), Vec::new());
        let is_corrected = self.config.sampler_correction.is_active();
        for (index, (sequence, current)) in tokens.sequences().enumerate() {
            let sampled = sampled(index, sequence)?;
            let values = self.log_ratios(current, &sampled.old_logprobs);
            let ratios: Vec<_> = values.iter().map(|log_ratio| log_ratio.exp()).collect();
            check_finite("the probability ratio", index, &ratios)?;
            log_ratios.extend(values);
            advantages.extend(std::iter::repeat_n(sampled.advantage as f32, current.len()));
            if is_corrected {
                corrections.extend(self.sampler_weights(index, sampled)?);
            }
            measure(&mut metrics, current, sampled);
        }
        // The value of the difference is 0; it carries the gradient.
        let log_ratio = tokens.logprobs() - tokens.values() + tokens.constant_of(log_ratios);
        let ratio = log_ratio.exp();
        let advantages = tokens.constant_of(advantages);
        let (low, high) = (1.0 - self.config.clip_low, 1.0 + self.config.clip_high);
        let bounded = ratio.clone().clamp(low, high) * advantages.clone();
        let unbounded = ratio * advantages;
        let clips = bounded.clone().lower(unbounded.clone());
        metrics.num_clipped = clips.clone().int().sum().into_scalar::<i64>() as usize;
        let mut terms = -unbounded.mask_where(clips, bounded);
        if is_corrected {
            terms = terms * tokens.constant_of(corrections);
        }
        if self.config.loss_kl.coefficient > 0.0 {
            terms = terms + self.kl(&tokens)?;
        }
        let weights = tokens.constant(|sequence| self.weight(sequence, batch.totals));
        Ok(Loss { loss: (terms * weights).sum(), metrics })
    }
}

fn measure(metrics: &mut Metrics, current: &[f32], sampled: &SampledData) {
    for (token, &new) in current.iter().enumerate() {
        let new = f64::from(new);
        metrics.sum_logprob += new;
        metrics.from_sampling.add(new - f64::from(sampled.old_logprobs[token]));
        if let Some(reference) = &sampled.reference_logprobs {
            metrics.from_reference.add(f64::from(reference[token]) - new);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// A rollout whose tokens became twice and half as likely.
    fn loss(config: &Config, advantage: f64) -> (f32, Metrics) {
        let (old_logprobs, ln_2) = (vec![-1.0, -1.0], std::f32::consts::LN_2);
        let sampled = SampledData::new(advantage, old_logprobs);
        let sequences = [Sequence { num_tokens: 2, sampled: Some(sampled) }];
        let logprobs = Tensor::from_data([-1.0 + ln_2, -1.0 - ln_2], &Device::flex());
        let grpo = Grpo::new(config, 5);
        let loss = grpo.loss(logprobs, Batch::whole(&sequences)).unwrap();
        (loss.loss.into_scalar::<f32>(), loss.metrics)
    }

    #[test]
    fn a_gain_counts_up_to_the_bound_and_a_loss_in_full() {
        let (good, metrics) = loss(&Config::default(), 1.0);
        assert!((good + (1.2 + 0.5) / 2.0).abs() < 1e-6, "{good}");
        assert_eq!(metrics.clip_fraction(), Some(0.5));
        let (bad, metrics) = loss(&Config::default(), -1.0);
        assert!((bad - (2.0 + 0.8) / 2.0).abs() < 1e-6, "{bad}");
        assert_eq!(metrics.clip_fraction(), Some(0.5));
        assert!((metrics.from_sampling.mean_ratio().unwrap() - 1.25).abs() < 1e-6);
        assert_eq!(metrics.from_reference.k1(), None);
    }

    #[test]
    fn the_ratio_of_a_sequence_is_the_geometric_mean() {
        let sequence = Config { ratio: Ratio::Sequence, ..Config::default() };
        let (found, metrics) = loss(&sequence, 3.0);
        assert!((found + 3.0).abs() < 1e-6, "{found}");
        assert_eq!(metrics.num_clipped, 0);
    }

    #[test]
    fn constant_divides_by_the_maximum_number_of_tokens() {
        let constant = Config { aggregation: Aggregation::Constant, ..Config::default() };
        let (found, _) = loss(&constant, 1.0);
        assert!((found + (1.2 + 0.5) / 5.0).abs() < 1e-6, "{found}");
    }
}
