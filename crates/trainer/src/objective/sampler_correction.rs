//! Correction for a sampler whose probabilities differ from the trainer's.
//!
//! ```text
//! log rho_t = log pi_old(o_t) - log pi_sampler(o_t)       old: recomputed by the trainer
//! rho       = exp(log rho_t)                              level `token`
//!           = exp(sum_t log rho_t)                        level `sequence`, for each of its tokens
//! w         = 1                                           `none`
//!           = min(max(rho, low), high)                    `truncate`
//!           = rho if low <= rho <= high, else 0           `mask`
//! ```
//!
//! The clipped term of each token is multiplied by `w`, a constant of the gradient; KL terms are not.
//! Tokens that are masked still count in the denominators of the loss.
//!
//! Sources: truncated importance sampling (Yao et al. 2025, *Your Efficient RL Framework Secretly Brings
//! You Off-Policy RL Training*), `truncate` by `token`; IcePop (Ring team 2025), `mask` by `token`;
//! sequence masks as in TRL 1.8 and verl 0.5. As in verl, log-ratios are bounded to -20 to 20.

use preceptor_core::OutOfRange;
use serde::{Deserialize, Serialize};

/// Bound of log-ratios, so that no ratio overflows.
const MAX_ABS_LOG_RATIO: f64 = 20.0;

/// The treatment of ratios.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CorrectionKind {
    /// Every weight is 1.
    #[default]
    None,
    /// The weight is the ratio, bounded to `low` to `high`.
    Truncate,
    /// The weight is the ratio, or 0 outside of `low` to `high`.
    Mask,
}

/// The unit of the ratio.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CorrectionLevel {
    /// Each token.
    #[default]
    Token,
    /// The rollout: the product of its tokens' ratios.
    Sequence,
}

/// Settings of the correction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SamplerCorrection {
    /// `none`, `truncate` or `mask`. Default: `none`.
    pub kind: CorrectionKind,
    /// The unit of the ratio: `token` or `sequence`. Default: `token`.
    pub level: CorrectionLevel,
    /// The smallest ratio, 0 to 1. Default: 0.
    pub low: f64,
    /// The largest ratio, 1 to 1000. Default: 2 (verl 0.5).
    pub high: f64,
}

impl Default for SamplerCorrection {
    fn default() -> Self {
        Self { kind: CorrectionKind::None, level: CorrectionLevel::Token, low: 0.0, high: 2.0 }
    }
}

impl SamplerCorrection {
    /// Checks the ranges of the keys.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first value that is not allowed.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("low", self.low, (0.0..=1.0).contains(&self.low), "between 0 and 1")?;
        let is_allowed = (1.0..=1000.0).contains(&self.high);
        OutOfRange::check("high", self.high, is_allowed, "between 1 and 1000")
    }

    /// Returns true if tokens are weighted by something else than 1.
    pub fn is_active(&self) -> bool {
        self.kind != CorrectionKind::None
    }

    /// Returns the weight of each token of a rollout, from its log-probabilities under the trainer's
    /// weights and in the sampler.
    ///
    /// # Panics
    ///
    /// If the two do not have the same length.
    pub fn weights(&self, old: &[f32], sampler: &[f32]) -> Vec<f32> {
        let ratios = self.ratios(old, sampler);
        let weight = |ratio: f64| match self.kind {
            CorrectionKind::None => 1.0,
            CorrectionKind::Truncate => ratio.clamp(self.low, self.high),
            CorrectionKind::Mask if self.is_inside(ratio) => ratio,
            CorrectionKind::Mask => 0.0,
        };
        match self.level {
            CorrectionLevel::Token => ratios.map(|ratio| weight(ratio) as f32).collect(),
            CorrectionLevel::Sequence => {
                let weight = ratios.last().map_or(1.0, weight);
                vec![weight as f32; old.len()]
            }
        }
    }

    fn is_inside(&self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio)
    }

    /// Returns the ratio of each token, or that of the rollout.
    fn ratios(&self, old: &[f32], sampler: &[f32]) -> impl DoubleEndedIterator<Item = f64> {
        let mut logs = log_ratios(old, sampler);
        if self.level == CorrectionLevel::Sequence && !logs.is_empty() {
            logs = vec![logs.iter().sum()];
        }
        logs.into_iter().map(|log| log.clamp(-MAX_ABS_LOG_RATIO, MAX_ABS_LOG_RATIO).exp())
    }
}

fn log_ratios(old: &[f32], sampler: &[f32]) -> Vec<f64> {
    assert_eq!(old.len(), sampler.len(), "one log-probability for each token");
    old.iter().zip(sampler).map(|(&old, &sampled)| f64::from(old) - f64::from(sampled)).collect()
}

/// The distance between sampler and trainer over the rollouts of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerMismatch {
    /// Mean of |log rho| over tokens, in nats.
    pub mean_abs_log_ratio: f64,
    /// 99th percentile of |log rho| over tokens, in nats: the smallest value that at least 99 % of the
    /// tokens do not exceed.
    pub p99_abs_log_ratio: f64,
    /// Share of ratios outside of `low` to `high`, by token or rollout as the correction has it.
    pub share_outside: f64,
    /// `(sum rho)^2 / (n sum rho^2)` of the same ratios, in (0, 1]; 1 if they are all equal.
    pub effective_sample_size: f64,
}

impl SamplerMismatch {
    /// Measures rollouts, each with its log-probabilities under the trainer's weights and in the sampler.
    /// Returns none without tokens.
    pub fn measure<'r>(
        correction: &SamplerCorrection,
        rollouts: impl Iterator<Item = (&'r [f32], &'r [f32])>,
    ) -> Option<Self> {
        let (mut distances, mut ratios) = (Vec::new(), Vec::new());
        for (old, sampler) in rollouts {
            distances.extend(log_ratios(old, sampler).into_iter().map(f64::abs));
            ratios.extend(correction.ratios(old, sampler));
        }
        if distances.is_empty() {
            return None;
        }
        distances.sort_by(f64::total_cmp);
        let rank = (distances.len() * 99).div_ceil(100) - 1;
        let num = ratios.len() as f64;
        let outside = ratios.iter().filter(|ratio| !correction.is_inside(**ratio)).count();
        let (sum, squares) =
            ratios.iter().fold((0.0, 0.0), |(sum, squares), r| (sum + r, squares + r * r));
        Some(Self {
            mean_abs_log_ratio: distances.iter().sum::<f64>() / distances.len() as f64,
            p99_abs_log_ratio: distances[rank],
            share_outside: outside as f64 / num,
            effective_sample_size: sum * sum / (num * squares),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [f32; 3] = [-1.0, -1.0, -1.0];

    /// Log-probabilities whose ratios to [`OLD`] are a half, 1 and 4.
    fn sampler() -> Vec<f32> {
        [0.5_f32, 1.0, 4.0].iter().map(|ratio| -1.0 - ratio.ln()).collect()
    }

    fn weights(kind: CorrectionKind, level: CorrectionLevel, low: f64, high: f64) -> Vec<f32> {
        let correction = SamplerCorrection { kind, level, low, high };
        let weights = correction.weights(&OLD, &sampler());
        weights.iter().map(|weight| (weight * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn weights_are_bounded_or_masked_by_token_or_sequence() {
        use CorrectionKind::{Mask, None, Truncate};
        use CorrectionLevel::{Sequence, Token};
        assert_eq!(weights(None, Token, 0.0, 2.0), [1.0, 1.0, 1.0]);
        assert_eq!(weights(Truncate, Token, 0.0, 2.0), [0.5, 1.0, 2.0]);
        assert_eq!(weights(Truncate, Token, 0.8, 2.0), [0.8, 1.0, 2.0]);
        assert_eq!(weights(Mask, Token, 0.4, 2.0), [0.5, 1.0, 0.0]);
        assert_eq!(weights(Mask, Token, 0.6, 5.0), [0.0, 1.0, 4.0]);
        assert_eq!(weights(Truncate, Sequence, 0.0, 1.5), [1.5; 3]);
        assert_eq!(weights(Mask, Sequence, 0.0, 3.0), [2.0; 3]);
        assert_eq!(weights(Mask, Sequence, 0.0, 1.5), [0.0; 3]);
    }

    #[test]
    fn a_ratio_that_would_overflow_is_bounded() {
        let correction = SamplerCorrection {
            kind: CorrectionKind::Truncate,
            level: CorrectionLevel::Sequence,
            high: 1000.0,
            ..Default::default()
        };
        let weights = correction.weights(&[0.0; 100], &[-100.0; 100]);
        assert_eq!(weights, [1000.0; 100]);
        assert!(correction.weights(&[-100.0; 100], &[0.0; 100])[0] > 0.0);
        assert_eq!(correction.weights(&[], &[]), [0.0; 0]);
    }

    #[test]
    fn mismatch_has_its_closed_forms() {
        let correction = SamplerCorrection::default();
        let sampler = sampler();
        let measure = |correction: &SamplerCorrection| {
            let rollouts = [(&OLD[..], sampler.as_slice()), (&[], &[])].into_iter();
            SamplerMismatch::measure(correction, rollouts).expect("it has tokens")
        };
        let found = measure(&correction);
        let ln_2 = std::f64::consts::LN_2;
        assert!((found.mean_abs_log_ratio - ln_2).abs() < 1e-6, "{found:?}");
        assert!((found.p99_abs_log_ratio - 2.0 * ln_2).abs() < 1e-6, "{found:?}");
        assert!((found.share_outside - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        // (0.5 + 1 + 4)^2 / (3 (0.25 + 1 + 16)).
        assert!((found.effective_sample_size - 30.25 / 51.75).abs() < 1e-6, "{found:?}");
        let by_sequence =
            SamplerCorrection { level: CorrectionLevel::Sequence, high: 1.5, ..correction.clone() };
        let found = measure(&by_sequence);
        assert_eq!((found.share_outside, found.effective_sample_size), (1.0, 1.0));
        assert_eq!(SamplerMismatch::measure(&correction, [].into_iter()), None);
    }

    #[test]
    fn bounds_outside_their_range_are_refused() {
        let low = SamplerCorrection { low: 1.1, ..Default::default() };
        let high = SamplerCorrection { high: 0.9, ..Default::default() };
        assert_eq!(low.check().unwrap_err().key, "low");
        assert_eq!(high.check().unwrap_err().key, "high");
        assert!(SamplerCorrection::default().check().is_ok());
    }
}
