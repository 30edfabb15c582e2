//! Comparison of two conditions, by the design that fits them.

use crate::paired::differences;
use crate::{
    Estimate, Interval, MIN_PROMPTS, Scale, by_prompt, crossed_difference, paired_difference,
};

/// The role of the runs (seeds) of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// Seeds sample one policy again: they are averaged within each prompt.
    Samples,
    /// Each seed trains its own policy: runs and prompts are crossed.
    TrainingRuns,
}

/// The reason for a missing interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Fewer than [`MIN_PROMPTS`] prompts have scores on both sides.
    TooFewPrompts,
    /// A single training run does not show how training varies.
    OneTrainingRun,
}

impl Caution {
    /// Returns the reason in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooFewPrompts => "too few prompts",
            Self::OneTrainingRun => "one training run",
        }
    }

    /// Returns what prevents an interval over `num_prompts` and `num_runs`.
    pub fn of(design: Design, num_runs: usize, num_prompts: usize) -> Option<Self> {
        if num_prompts < MIN_PROMPTS {
            Some(Self::TooFewPrompts)
        } else if design == Design::TrainingRuns && num_runs < 2 {
            Some(Self::OneTrainingRun)
        } else {
            None
        }
    }
}

/// A comparison of two conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// The mean of `a - b` over prompts that both have scores of.
    pub estimate: Estimate,
    /// Two-sided p-value of the mean being 0; none where there is no interval.
    pub p_value: Option<f64>,
    /// Runs that both have.
    pub num_runs: usize,
    /// Prompts on which the first is better, the second is better, or both are equal.
    pub wins_losses_ties: [usize; 3],
    /// The reason for a missing interval.
    pub caution: Option<Caution>,
}

impl Contrast {
    /// Returns whether the difference is told apart from 0 by its interval.
    pub fn is_told_apart(&self) -> bool {
        let apart = |interval: Interval| interval.low > 0.0 || interval.high < 0.0;
        self.estimate.interval.is_some_and(apart)
    }
}

/// Compares `a` with `b`, each `scores[run][prompt]`; runs and prompts are paired by index. None
/// without a score that both have.
///
/// # Panics
///
/// If `a` and `b` differ in their number of runs or prompts.
pub fn contrast(
    design: Design,
    scale: Scale,
    a: &[Vec<Option<f64>>],
    b: &[Vec<Option<f64>>],
) -> Option<Contrast> {
    let differences = differences(a, b);
    let num_runs = differences.iter().filter(|run| run.iter().any(Option::is_some)).count();
    let (estimate, p_value) = match design {
        Design::Samples => {
            let found = paired_difference(scale, a, b)?;
            (found.estimate, found.p_value)
        }
        Design::TrainingRuns => {
            let found = crossed_difference(scale, a, b)?;
            (found.estimate(), found.p_value)
        }
    };
    let mut wins_losses_ties = [0; 3];
    for cluster in by_prompt(&differences).iter().filter(|cluster| !cluster.is_empty()) {
        let outcome = match cluster.iter().sum::<f64>() / cluster.len() as f64 {
            mean if mean > 0.0 => 0,
            mean if mean < 0.0 => 1,
            _ => 2,
        };
        wins_losses_ties[outcome] += 1;
    }
    let caution = Caution::of(design, num_runs, estimate.num_clusters);
    Some(Contrast { estimate, p_value, num_runs, wins_losses_ties, caution })
}
