//! The score of a set of prompts with its interval.
//!
//! ```text
//! final answers:  mean over prompts                with Wilson's interval at the effective sample size
//! rubrics:        clip( mean over prompts, 0, 1 )  with the t interval, its ends clipped too
//! ```
//!
//! A prompt's seeds are averaged first. An example's rubric score is at most 1 and may be far below 0;
//! clipping comes after the mean, as HealthBench has it.

use crate::{Estimate, Interval, clustered_mean, clustered_proportion};

/// The score over clusters, one a prompt; none without a score.
pub fn score_estimate(is_rubric: bool, clusters: &[Vec<f64>]) -> Option<Estimate> {
    if !is_rubric {
        return clustered_proportion(clusters);
    }
    let estimate = clustered_mean(clusters)?;
    let clip = |value: f64| value.clamp(0.0, 1.0);
    let interval = estimate
        .interval
        .map(|Interval { low, high }| Interval { low: clip(low), high: clip(high) });
    Some(Estimate { mean: clip(estimate.mean), interval, ..estimate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rubric_score_is_clipped_after_the_mean_and_so_is_its_interval() {
        // Mean -0.5, standard error 1.5 / 2: t(1) = 12.706.
        let estimate = score_estimate(true, &[vec![0.25], vec![-1.25]]).unwrap();
        assert_eq!(estimate.mean, 0.0);
        assert_eq!(estimate.interval, Some(Interval { low: 0.0, high: 1.0 }));
        // Each clipped first, the mean would be 0.5.
        assert_eq!(score_estimate(true, &[vec![1.0], vec![-2.0]]).unwrap().mean, 0.0);
    }
}
