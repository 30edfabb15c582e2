//! The difference of two conditions on the same prompts.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use crate::{Estimate, clustered_mean};

/// What pairing two conditions by prompt shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDifference {
    /// Mean difference with its interval.
    pub estimate: Estimate,
    /// Two-sided p-value of the paired t test over clusters; none where all differences are
    /// equal, so that their spread says nothing.
    pub p_value: Option<f64>,
}

/// The mean of `a - b` over prompts that both have; each prompt's values are averaged first. None
/// without a common prompt.
///
/// # Panics
///
/// If `a` and `b` don't have the same number of clusters: they are paired by place.
pub fn paired_difference(a: &[Vec<f64>], b: &[Vec<f64>]) -> Option<PairedDifference> {
    assert_eq!(a.len(), b.len(), "conditions are paired by place");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let differences: Vec<Vec<f64>> = a
        .iter()
        .zip(b)
        .filter(|(a, b)| !a.is_empty() && !b.is_empty())
        .map(|(a, b)| vec![mean(a) - mean(b)])
        .collect();
    let estimate = clustered_mean(&differences)?;
    let p_value = estimate.std_error.filter(|std_error| *std_error > 0.0).map(|std_error| {
        let t = StudentsT::new(0.0, 1.0, (estimate.num_clusters - 1) as f64)
            .expect("a standard error needs two clusters");
        2.0 * t.cdf(-(estimate.mean / std_error).abs())
    });
    Some(PairedDifference { estimate, p_value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipys_paired_t_test() {
        // scipy.stats.ttest_rel([1, 2, 4, 3], [0, 2, 1, 1]) gives t = 2.3238, p = 0.10275.
        let column = |values: [f64; 4]| values.map(|value| vec![value]);
        let difference =
            paired_difference(&column([1.0, 2.0, 4.0, 3.0]), &column([0.0, 2.0, 1.0, 1.0]));
        let difference = difference.unwrap();
        assert_eq!(difference.estimate.mean, 1.5);
        assert!((difference.p_value.unwrap() - 0.10275).abs() < 1e-4, "{difference:?}");
    }

    #[test]
    fn prompts_that_only_one_side_has_are_left_out() {
        let a = [vec![1.0], vec![], vec![0.0]];
        let b = [vec![0.0], vec![1.0], vec![0.0]];
        let difference = paired_difference(&a, &b).unwrap();
        assert_eq!(difference.estimate.num_clusters, 2);
        assert_eq!(difference.estimate.mean, 0.5);
    }

    #[test]
    fn equal_conditions_have_no_p_value() {
        let a = [vec![1.0], vec![0.0]];
        assert_eq!(paired_difference(&a, &a).unwrap().p_value, None);
    }
}
