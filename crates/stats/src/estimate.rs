//! A mean over clusters with its interval.
//!
//! Each cluster is averaged first; the clusters' means are independent and equally weighted:
//!
//! ```text
//! mean = 1/C sum_c m_c        se = sqrt( sum_c (m_c - mean)^2 / (C (C-1)) )
//! ```
//!
//! For a mean the 95% interval is `mean ± t(C-1) se`. For a proportion that interval fails near 0
//! and 1 and for few clusters, so [`clustered_proportion`] uses Wilson's interval at the *effective
//! sample size* `p (1-p) / se^2`, never more than the number of rows, as Korn and Graubard do for
//! survey data with Clopper-Pearson. With one row a cluster this is Wilson's own interval but for
//! the t quantile.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// A 95% confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A mean, its uncertainty and its sample size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean of the clusters' means.
    pub mean: f64,
    /// The standard error; none with fewer than two clusters.
    pub std_error: Option<f64>,
    /// The 95% interval; none where it is undefined.
    pub interval: Option<Interval>,
    /// Clusters with at least one value.
    pub num_clusters: usize,
    /// Values in all clusters.
    pub num_values: usize,
}

/// The number of prompts below which a mean has no interval, since its spread is too uncertain.
pub const MIN_PROMPTS: usize = 10;

impl Estimate {
    /// Returns an estimate whose clusters are prompts: without an interval where they are fewer
    /// than [`MIN_PROMPTS`].
    pub fn over_prompts(self) -> Self {
        let interval = self.interval.filter(|_| self.num_clusters >= MIN_PROMPTS);
        Self { interval, ..self }
    }
}

/// Returns the 97.5% quantile of Student's t.
pub(crate) fn t_quantile(degrees_of_freedom: usize) -> f64 {
    StudentsT::new(0.0, 1.0, degrees_of_freedom as f64)
        .expect("degrees of freedom are positive")
        .inverse_cdf(0.975)
}

/// Returns the mean of `values`; none of no values.
///
/// ```
/// use preceptor_stats::mean;
/// assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
/// assert_eq!(mean(&[]), None);
/// ```
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the mean over clusters with a t interval; none without a value. Empty clusters don't
/// count.
///
/// ```
/// let estimate = preceptor_stats::clustered_mean(&[vec![1.0, 3.0], vec![4.0]]).unwrap();
/// assert_eq!((estimate.mean, estimate.std_error), (3.0, Some(1.0)));
/// ```
pub fn clustered_mean(clusters: &[Vec<f64>]) -> Option<Estimate> {
    let means: Vec<f64> = clusters
        .iter()
        .filter(|cluster| !cluster.is_empty())
        .map(|cluster| cluster.iter().sum::<f64>() / cluster.len() as f64)
        .collect();
    let num_clusters = means.len();
    if num_clusters == 0 {
        return None;
    }
    let count = num_clusters as f64;
    let mean = means.iter().sum::<f64>() / count;
    let std_error = (num_clusters > 1).then(|| {
        let squares: f64 = means.iter().map(|m| (m - mean).powi(2)).sum();
        (squares / (count * (count - 1.0))).sqrt()
    });
    let interval = std_error.map(|std_error| {
        let half = t_quantile(num_clusters - 1) * std_error;
        Interval { low: mean - half, high: mean + half }
    });
    let num_values = clusters.iter().map(Vec::len).sum();
    Some(Estimate { mean, std_error, interval, num_clusters, num_values })
}

/// Returns the mean over clusters of values in [0, 1], with Wilson's interval at the effective
/// sample size; none without a value.
///
/// Where all values are equal the spread between clusters says nothing; the clusters are then
/// counted as one row each.
pub fn clustered_proportion(clusters: &[Vec<f64>]) -> Option<Estimate> {
    let estimate = clustered_mean(clusters)?;
    let p = estimate.mean;
    let effective = match estimate.std_error {
        Some(std_error) if std_error > 0.0 => {
            (p * (1.0 - p) / std_error.powi(2)).min(estimate.num_values as f64)
        }
        _ => estimate.num_clusters as f64,
    };
    let z = t_quantile((estimate.num_clusters - 1).max(1));
    Some(Estimate { interval: Some(wilson(p, effective, z)), ..estimate })
}

/// Wilson's interval of the proportion `p` at the sample size `effective`, with the quantile `z`.
pub(crate) fn wilson(p: f64, effective: f64, z: f64) -> Interval {
    let z2 = z * z;
    let center = (p + z2 / (2.0 * effective)) / (1.0 + z2 / effective);
    let half = z / (1.0 + z2 / effective)
        * (p * (1.0 - p) / effective + z2 / (4.0 * effective * effective)).sqrt();
    Interval { low: (center - half).clamp(0.0, p), high: (center + half).clamp(p, 1.0) }
}

/// Returns the mean over prompts of a statistic between `least` and `most`, such as the AUC within
/// groups, with the t interval cut to that range. There is none below [`MIN_PROMPTS`], and none
/// where all clusters have the same mean: a spread of 0 says nothing about how sure it is.
///
/// ```
/// use preceptor_stats::bounded_mean;
/// let constant = bounded_mean(&vec![vec![0.5]; 40], (0.0, 1.0)).unwrap();
/// assert_eq!((constant.mean, constant.interval), (0.5, None));
/// ```
pub fn bounded_mean(clusters: &[Vec<f64>], (least, most): (f64, f64)) -> Option<Estimate> {
    let estimate = clustered_mean(clusters)?.over_prompts();
    let interval = estimate.interval.filter(|interval| interval.low < interval.high);
    let interval = interval.map(|Interval { low, high }| Interval {
        low: low.clamp(least, most),
        high: high.clamp(least, most),
    });
    Some(Estimate { interval, ..estimate })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_single_rows_give_wilsons_interval() {
        // 30 of 100: Wilson's 95% interval with the normal quantile is 0.2189 to 0.3958
        // (statsmodels, proportion_confint(30, 100, method="wilson")); the t quantile for 99
        // degrees of freedom widens it slightly.
        let clusters: Vec<_> = (0..100).map(|i| vec![f64::from(u8::from(i < 30))]).collect();
        let interval = clustered_proportion(&clusters).unwrap().interval.unwrap();
        assert!((interval.low - 0.2189).abs() < 2e-3, "{interval:?}");
        assert!((interval.high - 0.3958).abs() < 2e-3, "{interval:?}");
    }

    #[test]
    fn repeating_each_row_does_not_make_it_surer() {
        let once: Vec<_> = (0..40).map(|i| vec![f64::from(u8::from(i % 4 == 0))]).collect();
        let thrice: Vec<_> = once.iter().map(|row| vec![row[0]; 3]).collect();
        let (once, thrice) =
            (clustered_proportion(&once).unwrap(), clustered_proportion(&thrice).unwrap());
        let (once, thrice) = (once.interval.unwrap(), thrice.interval.unwrap());
        assert!((once.low - thrice.low).abs() < 0.01 && (once.high - thrice.high).abs() < 0.01);
    }

    #[test]
    fn all_wrong_is_not_certainly_zero() {
        let interval = clustered_proportion(&vec![vec![0.0; 3]; 20]).unwrap().interval.unwrap();
        assert_eq!(interval.low, 0.0);
        assert!((0.1..0.25).contains(&interval.high), "{interval:?}");
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(clustered_mean(&[]), None);
        assert_eq!(clustered_proportion(&[vec![]]), None);
    }

    proptest! {
        #[test]
        fn the_interval_of_a_proportion_holds_the_mean_and_stays_in_range(
            clusters in prop::collection::vec(
                prop::collection::vec(prop::bool::ANY.prop_map(|b| f64::from(u8::from(b))), 1..4),
                1..30,
            ),
        ) {
            let estimate = clustered_proportion(&clusters).unwrap();
            let Interval { low, high } = estimate.interval.unwrap();
            prop_assert!(0.0 <= low && low <= estimate.mean);
            prop_assert!(estimate.mean <= high && high <= 1.0);
        }
    }
}
