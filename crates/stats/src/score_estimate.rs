//! The score of a set of prompts with its interval.
//!
//! ```text
//! final answers:  mean over prompts                with Wilson's interval at the effective sample size
//! rubrics:        clip( mean over prompts, 0, 1 )  with the t interval, its ends clipped too
//! ```
//!
//! A prompt's seeds are averaged first. An example's rubric score is at most 1 and may be far below 0;
//! clipping comes after the mean, as HealthBench has it.

use crate::{Estimate, Interval, Scale, clustered_mean, clustered_proportion};

/// Returns the score over clusters, one per prompt; none without a score. Below
/// [`crate::MIN_PROMPTS`] it has no interval.
pub fn score_estimate(scale: Scale, clusters: &[Vec<f64>]) -> Option<Estimate> {
    if scale == Scale::Proportion {
        return clustered_proportion(clusters).map(Estimate::over_prompts);
    }
    let estimate = clustered_mean(clusters)?.over_prompts();
    // Without any spread there is no measure of uncertainty.
    let interval = estimate.interval.filter(|interval| interval.low < interval.high);
    let clip = |value: f64| scale.clip(value);
    let interval =
        interval.map(|Interval { low, high }| Interval { low: clip(low), high: clip(high) });
    Some(Estimate { mean: clip(estimate.mean), interval, ..estimate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rubric_score_is_clipped_after_the_mean_and_so_is_its_interval() {
        // Means 0.25 and -1.25, ten times each: mean -0.5, far below 0.
        let clusters: Vec<_> = (0..20).map(|i| vec![[0.25, -1.25][i % 2]]).collect();
        let estimate = score_estimate(Scale::Rubric, &clusters).unwrap();
        assert_eq!(estimate.mean, 0.0);
        assert_eq!(estimate.interval, Some(Interval { low: 0.0, high: 0.0 }));
        // Each clipped first, the mean would be 0.5.
        let two = score_estimate(Scale::Rubric, &[vec![1.0], vec![-2.0]]).unwrap();
        assert_eq!((two.mean, two.interval), (0.0, None));
    }

    #[test]
    fn few_prompts_have_a_score_and_no_interval() {
        for scale in [Scale::Proportion, Scale::Rubric] {
            let of = |n: usize| {
                let clusters: Vec<_> =
                    (0..n).map(|i| vec![f64::from(u8::from(i % 2 == 0))]).collect();
                score_estimate(scale, &clusters).unwrap().interval
            };
            assert_eq!(of(crate::MIN_PROMPTS - 1), None);
            assert!(of(crate::MIN_PROMPTS).is_some());
        }
    }
}
