//! Warnings for settings that have no effect in their combination.
//!
//! Each function returns a message per finding, the key first. An empty list means that every setting has
//! an effect.

use crate::objective::grpo;
use crate::objective::grpo::{KlEstimator, Ratio};
use crate::{AdamWConfig, Baseline, ScheduleConfig};

/// The properties of a run that the effect of [`grpo::Config`] depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpoRun {
    /// Optimiser steps on rollouts of the same policy: mini-batches times passes over the batch.
    pub num_updates_per_batch: u32,
    /// Rollouts per prompt.
    pub group_size: u32,
    /// True if log-probabilities of a KL reference are computed.
    pub has_reference: bool,
}

/// Finds settings of GRPO without effect.
///
/// ```
/// use preceptor_trainer::{objective::grpo, warnings};
/// let run = warnings::GrpoRun { num_updates_per_batch: 1, group_size: 8, has_reference: true };
/// let found = warnings::grpo(&grpo::Config::default(), run);
/// assert_eq!(found, [
///     "`clip-low` and `clip-high` have no effect: with one update per batch every ratio is 1 up to rounding",
/// ]);
/// ```
pub fn grpo(config: &grpo::Config, run: GrpoRun) -> Vec<String> {
    let mut found = Vec::new();
    let on_policy = run.num_updates_per_batch <= 1;
    if on_policy {
        let reason = "with one update per batch every ratio is 1 up to rounding";
        found.push(format!("`clip-low` and `clip-high` have no effect: {reason}"));
        if config.ratio == Ratio::Sequence {
            found.push(format!("`ratio` = `sequence` has no effect: {reason}"));
        }
    }
    let loss_kl = &config.loss_kl;
    if loss_kl.coefficient == 0.0 && loss_kl.estimator != KlEstimator::default() {
        found.push("`loss-kl.estimator` has no effect: `loss-kl.coefficient` is 0".to_owned());
    }
    if loss_kl.coefficient > 0.0 && loss_kl.estimator == KlEstimator::K1 {
        let also =
            if on_policy { " and is 0 in expectation with one update per batch" } else { "" };
        found.push(format!(
            "`loss-kl.estimator` = `k1` does not pull towards the KL reference: its gradient does not depend on it{also}"
        ));
    }
    if run.has_reference && !config.needs_reference() {
        found.push(
            "the KL reference is measured and has no effect: `reward-kl` and `loss-kl.coefficient` are 0"
                .to_owned(),
        );
    }
    if config.baseline == Baseline::LeaveOneOut {
        let (size, others) = (run.group_size, run.group_size.saturating_sub(1));
        found.push(format!(
            "`baseline` = `leave-one-out` only multiplies the advantages of a full group by {size}/{others}, which the scale of AdamW's steps does not depend on"
        ));
    }
    if config.std && run.group_size == 2 {
        found.push(
            "the size of a reward has no effect: with groups of 2 and `std` only its rank counts"
                .to_owned(),
        );
    }
    found
}

/// Finds settings of the optimiser without effect.
pub fn adamw(config: &AdamWConfig) -> Vec<String> {
    let inert = config.weight_decay == 0.0 && !config.decay_vectors;
    let message = || "`decay-vectors` has no effect: `weight-decay` is 0".to_owned();
    inert.then(message).into_iter().collect()
}

/// Finds settings of the learning rate without effect in a run of `num_updates`.
pub fn schedule(config: &ScheduleConfig, num_updates: u64) -> Vec<String> {
    let warm_up = u64::from(config.warm_up_updates);
    let inert = warm_up >= num_updates;
    let message = || {
        format!(
            "`kind` of the learning rate has no effect: its warm-up of {warm_up} updates is not shorter than the run of {num_updates}"
        )
    };
    (inert && num_updates > 0).then(message).into_iter().collect()
}
