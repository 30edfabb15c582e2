//! The learning rate of each update.
//!
//! ```text
//! warm-up (n < w):  peak * n / w
//! `constant`:       peak
//! `linear`:         peak * (N - n) / (N - w)
//! `cosine`:         peak * (1 + cos(pi (n - w) / (N - w))) / 2
//! ```
//!
//! n counts updates from 0, w are the warm-up updates, N all updates; past N a decaying rate is 0. These
//! are transformers' `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup` and
//! `get_cosine_schedule_with_warmup`; with a warm-up the first update has rate 0.

use std::f64::consts::PI;

use preceptor_core::OutOfRange;
use serde::{Deserialize, Serialize};

/// The decay of the rate after the warm-up.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// No decay.
    #[default]
    Constant,
    /// Linear to 0.
    Linear,
    /// Half a period of the cosine, to 0.
    Cosine,
}

/// Settings of a [`Schedule`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ScheduleConfig {
    /// The decay after the warm-up: `constant`, `linear` or `cosine`. Default: `constant` (paper, for
    /// reinforcement learning).
    pub kind: Decay,
    /// The highest rate, above 0, up to 1. Default: 5e-7 (paper, for reinforcement learning).
    pub learning_rate: f64,
    /// Number of updates in which the rate rises from 0. Default: 0 (paper, for reinforcement learning).
    pub warm_up_updates: u32,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { kind: Decay::Constant, learning_rate: 5e-7, warm_up_updates: 0 }
    }
}

impl ScheduleConfig {
    /// Checks the range of every key.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let is_allowed = self.learning_rate > 0.0 && self.learning_rate <= 1.0;
        let allowed = "above 0 and at most 1";
        OutOfRange::check("learning-rate", self.learning_rate, is_allowed, allowed)
    }
}

/// The learning rate as a function of the update.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: ScheduleConfig,
    num_updates: u64,
}

impl Schedule {
    /// Creates the schedule of `config` for a run of `num_updates`.
    pub fn new(config: &ScheduleConfig, num_updates: u64) -> Self {
        Self { config: config.clone(), num_updates }
    }

    /// Returns the rate of update `update`, counted from 0.
    ///
    /// ```
    /// use preceptor_trainer::{Decay, Schedule, ScheduleConfig};
    /// let config = ScheduleConfig { kind: Decay::Linear, learning_rate: 0.5, warm_up_updates: 2 };
    /// let schedule = Schedule::new(&config, 6);
    /// let rates: Vec<_> = (0..7).map(|update| schedule.rate(update)).collect();
    /// assert_eq!(rates, [0.0, 0.25, 0.5, 0.375, 0.25, 0.125, 0.0]);
    /// ```
    pub fn rate(&self, update: u64) -> f64 {
        let warm_up = u64::from(self.config.warm_up_updates);
        if update < warm_up {
            return self.config.learning_rate * (update as f64 / warm_up as f64);
        }
        let decaying = self.num_updates.saturating_sub(warm_up).max(1);
        let progress = ((update - warm_up) as f64 / decaying as f64).min(1.0);
        let factor = match self.config.kind {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
        };
        self.config.learning_rate * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(kind: Decay, warm_up_updates: u32) -> ScheduleConfig {
        ScheduleConfig { kind, learning_rate: 0.5, warm_up_updates }
    }

    #[test]
    fn a_constant_rate_stays_after_its_warm_up() {
        let schedule = Schedule::new(&config(Decay::Constant, 4), 6);
        let rates = [0, 1, 3, 4, 5, 100].map(|update| schedule.rate(update));
        assert_eq!(rates, [0.0, 0.125, 0.375, 0.5, 0.5, 0.5]);
        assert_eq!(Schedule::new(&config(Decay::Constant, 0), 6).rate(0), 0.5);
    }

    #[test]
    fn a_decaying_rate_never_rises_and_ends_at_zero() {
        for kind in [Decay::Linear, Decay::Cosine] {
            let schedule = Schedule::new(&config(kind, 3), 10);
            for update in 3..12 {
                assert!(schedule.rate(update) >= schedule.rate(update + 1), "{kind:?} {update}");
            }
            assert_eq!(schedule.rate(3), 0.5);
            assert!(schedule.rate(9) > 0.0);
            assert_eq!((schedule.rate(10), schedule.rate(11)), (0.0, 0.0));
        }
    }

    #[test]
    fn a_run_within_its_warm_up_has_rates() {
        let schedule = Schedule::new(&config(Decay::Cosine, 8), 4);
        assert_eq!(schedule.rate(4), 0.25);
        assert_eq!(schedule.rate(8), 0.5);
    }

    #[test]
    fn rates_must_be_positive_numbers() {
        assert_eq!(ScheduleConfig::default().check(), Ok(()));
        for learning_rate in [0.0, -1.0, 1.5, f64::NAN] {
            let config = ScheduleConfig { learning_rate, ..ScheduleConfig::default() };
            assert_eq!(config.check().unwrap_err().key, "learning-rate");
        }
    }

    #[test]
    fn unknown_keys_are_rejected() {
        let text = r#"{ "kind": "cosine", "warm-up-steps": 10 }"#;
        let error = serde_json::from_str::<ScheduleConfig>(text).unwrap_err();
        assert!(error.to_string().contains("unknown field `warm-up-steps`"), "{error}");
    }
}
