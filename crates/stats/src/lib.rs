//! Statistics of scores: intervals, paired and clustered comparisons, pass@k, the bootstrap, rubric
//! scores, agreement between judges, several tasks together.
//!
//! Scores of one prompt are not independent of each other: several seeds or rollouts of the same
//! prompt form a **cluster**. Every function here takes clusters and counts prompts, not rows
//! (Miller 2024, *Adding error bars to evals*). Where each seed is a training run of its own, runs and
//! prompts are crossed ([`crossed_score`], [`crossed_difference`]).
//!
//! A mean over fewer than [`MIN_PROMPTS`] prompts has no interval.

mod agreement;
mod bootstrap;
mod contrast;
mod crossed;
mod estimate;
mod holm;
mod paired;
mod pass_at_k;
mod power;
mod rubric_score;
mod scale;
mod score_estimate;
mod tasks;

pub use agreement::{Confusion, area_under_curve, correlation, krippendorff_alpha, slope, youden};
pub use bootstrap::{bootstrap_std, resample};
pub use contrast::{Caution, Contrast, Design, contrast};
pub use crossed::{CrossedEstimate, crossed_difference, crossed_score};
pub use estimate::{
    Estimate, Interval, MIN_PROMPTS, bounded_mean, clustered_mean, clustered_proportion, mean,
};
pub use holm::holm;
pub use paired::{PairedDifference, paired_difference};
pub use pass_at_k::pass_at_k;
pub use power::detectable_difference;
pub use rubric_score::{
    CheckedItem, CheckedResponse, ClippedMean, mean_worst_at_k, rubric_score, rubric_scores,
    worst_at_k,
};
pub use scale::{Runs, Scale, by_prompt};
pub use score_estimate::score_estimate;
pub use tasks::{interquartile_mean, interquartile_score, probability_of_improvement};
