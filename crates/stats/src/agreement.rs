//! Agreement of judges with labels, with themselves and with each other.

use std::collections::BTreeMap;

use crate::{Estimate, Interval, resample};

/// Counts of a yes/no classification against a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Yes where the label says yes.
    pub true_positives: u64,
    /// Yes where it says no.
    pub false_positives: u64,
    /// No where it says no.
    pub true_negatives: u64,
    /// No where it says yes.
    pub false_negatives: u64,
}

impl Confusion {
    /// Counts pairs of (judge, label).
    ///
    /// Where several people have labelled a case, each of their labels makes a pair, as HealthBench's
    /// meta-evaluation counts.
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut counts = Self::default();
        for pair in pairs {
            match pair {
                (true, true) => counts.true_positives += 1,
                (true, false) => counts.false_positives += 1,
                (false, false) => counts.true_negatives += 1,
                (false, true) => counts.false_negatives += 1,
            }
        }
        counts
    }

    /// Pairs counted.
    pub fn total(&self) -> u64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Returns the share of pairs that agree; none without a pair.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positives + self.true_negatives, self.total())
    }

    /// Returns the share of cases labelled yes that are called yes; none without one.
    pub fn true_positive_rate(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Returns the share of cases labelled yes that are called no; none without one.
    pub fn false_negative_rate(&self) -> Option<f64> {
        ratio(self.false_negatives, self.true_positives + self.false_negatives)
    }

    /// Returns the share of cases labelled no that are called yes; none without one.
    pub fn false_positive_rate(&self) -> Option<f64> {
        ratio(self.false_positives, self.false_positives + self.true_negatives)
    }

    /// Returns Youden's J, the true positive rate less the false positive rate: 0 for a call that does
    /// not depend on the label, 1 for the label itself. None where a rate has no cases.
    ///
    /// ```
    /// use preceptor_stats::Confusion;
    /// let counts = Confusion {
    ///     true_positives: 6, false_positives: 1, true_negatives: 3, false_negatives: 2,
    /// };
    /// assert_eq!(counts.youden(), Some(0.75 - 0.25));
    /// ```
    pub fn youden(&self) -> Option<f64> {
        Some(self.true_positive_rate()? - self.false_positive_rate()?)
    }

    /// Returns the counts of both.
    fn plus(self, other: &Self) -> Self {
        Self {
            true_positives: self.true_positives + other.true_positives,
            false_positives: self.false_positives + other.false_positives,
            true_negatives: self.true_negatives + other.true_negatives,
            false_negatives: self.false_negatives + other.false_negatives,
        }
    }

    /// Returns the mean of the F1 of "yes" and the F1 of "no": HealthBench's
    /// `pairwise_model_f1_balanced`. None where a precision or recall has no cases.
    ///
    /// ```
    /// use preceptor_stats::Confusion;
    /// let counts = Confusion {
    ///     true_positives: 6, false_positives: 2, true_negatives: 1, false_negatives: 1,
    /// };
    /// assert!((counts.balanced_f1().unwrap() - (0.8 + 0.4) / 2.0).abs() < 1e-12);
    /// ```
    pub fn balanced_f1(&self) -> Option<f64> {
        let f1 = |hits: u64, claimed: u64, actual: u64| {
            let (precision, recall) = (ratio(hits, claimed)?, ratio(hits, actual)?);
            let sum = precision + recall;
            Some(if sum == 0.0 { 0.0 } else { 2.0 * precision * recall / sum })
        };
        let Self { true_positives, false_positives, true_negatives, false_negatives } = *self;
        let positive =
            f1(true_positives, true_positives + false_positives, true_positives + false_negatives)?;
        let negative =
            f1(true_negatives, true_negatives + false_negatives, true_negatives + false_positives)?;
        Some((positive + negative) / 2.0)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Resamples of prompts behind the interval of [`youden`].
const NUM_RESAMPLES: u64 = 1000;

/// Returns Youden's J over the counts of prompts, with the percentile interval of a bootstrap over
/// prompts. Below [`crate::MIN_PROMPTS`] there is no interval, and none where no resample differs.
pub fn youden(prompts: &[Confusion]) -> Option<Estimate> {
    let prompts: Vec<&Confusion> = prompts.iter().filter(|counts| counts.total() > 0).collect();
    let sum = |counts: &mut dyn Iterator<Item = &Confusion>| {
        counts.fold(Confusion::default(), Confusion::plus)
    };
    let all = sum(&mut prompts.iter().copied());
    let mean = all.youden()?;
    let of = |seed| sum(&mut resample(prompts.len(), seed).map(|i| prompts[i])).youden();
    let mut values: Vec<f64> = (0..NUM_RESAMPLES).filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    let interval = (!values.is_empty()).then(|| Interval { low: at(0.025), high: at(0.975) });
    let interval = interval.filter(|interval| interval.low < interval.high);
    let estimate = Estimate {
        mean,
        std_error: None,
        interval,
        num_clusters: prompts.len(),
        num_values: all.total() as usize,
    };
    Some(estimate.over_prompts())
}

/// Returns Krippendorff's alpha for nominal values: 1 is perfect agreement, 0 is chance. A row is a
/// case with one value per rater, none where it is missing; cases with fewer than two values don't
/// count. None without a pair, or where only one value occurs.
pub fn krippendorff_alpha(cases: &[Vec<Option<u32>>]) -> Option<f64> {
    let mut coincidences: BTreeMap<(u32, u32), f64> = BTreeMap::new();
    for case in cases {
        let values: Vec<u32> = case.iter().flatten().copied().collect();
        if values.len() < 2 {
            continue;
        }
        let weight = 1.0 / (values.len() - 1) as f64;
        for (i, &a) in values.iter().enumerate() {
            for (j, &b) in values.iter().enumerate() {
                if i != j {
                    *coincidences.entry((a, b)).or_insert(0.0) += weight;
                }
            }
        }
    }
    let mut totals: BTreeMap<u32, f64> = BTreeMap::new();
    for ((a, _), count) in &coincidences {
        *totals.entry(*a).or_insert(0.0) += count;
    }
    let all: f64 = totals.values().sum();
    let observed: f64 =
        coincidences.iter().filter(|((a, b), _)| a != b).map(|(_, count)| count).sum();
    let squares: f64 = totals.values().map(|total| total * total).sum();
    let expected = (all * all - squares) / (all - 1.0);
    (all > 1.0 && expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Returns the area under the ROC curve: the chance that a positive case has the higher value than
/// a negative one, ties counting half. None without a case of each kind.
///
/// ```
/// let cases = [(0.9, true), (0.4, true), (0.4, false), (0.1, false)];
/// assert_eq!(preceptor_stats::area_under_curve(&cases), Some(0.875));
/// ```
pub fn area_under_curve(cases: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = cases.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut negatives_below, mut num_positive) = (0.0, 0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let positive = tied.iter().filter(|case| case.1).count() as f64;
        let negative = tied.len() as f64 - positive;
        wins += positive * (negatives_below + negative / 2.0);
        negatives_below += negative;
        num_positive += positive;
    }
    (num_positive > 0.0 && negatives_below > 0.0).then(|| wins / (num_positive * negatives_below))
}

/// Returns the slope of the least-squares line of `y` over `x`; none where `x` does not vary.
///
/// ```
/// assert_eq!(preceptor_stats::slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
/// ```
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let shared: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    (spread > 0.0).then(|| shared / spread)
}

/// Pearson's correlation; none where one side does not vary.
///
/// ```
/// let points = [(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)];
/// assert!((preceptor_stats::correlation(&points).unwrap() - 0.5).abs() < 1e-12);
/// ```
pub fn correlation(points: &[(f64, f64)]) -> Option<f64> {
    let flipped: Vec<_> = points.iter().map(|&(x, y)| (y, x)).collect();
    let (up, back) = (slope(points)?, slope(&flipped)?);
    Some((up * back).max(0.0).sqrt().copysign(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_is_ranked_by_its_rates_with_an_interval_over_prompts() {
        let counts = |tp, fp, tn, r#fn| Confusion {
            true_positives: tp,
            false_positives: fp,
            true_negatives: tn,
            false_negatives: r#fn,
        };
        // On half of the prompts the call is the label, on the others always yes.
        let prompts: Vec<_> = (0..40)
            .map(|i| if i % 2 == 0 { counts(4, 0, 4, 0) } else { counts(4, 4, 0, 0) })
            .collect();
        let found = youden(&prompts).unwrap();
        assert_eq!((found.mean, found.num_clusters, found.num_values), (0.5, 40, 320));
        // The false positive rate is a share of 40 prompts: its standard error is 0.08.
        let Interval { low, high } = found.interval.unwrap();
        assert!((low - 0.35).abs() < 0.04 && (high - 0.65).abs() < 0.04, "{low} {high}");
        assert_eq!(youden(&prompts[..9]).unwrap().interval, None);
        let constant = vec![counts(4, 4, 0, 0); 20];
        assert_eq!(youden(&constant).map(|of| (of.mean, of.interval)), Some((0.0, None)));
        assert_eq!(youden(&[counts(4, 0, 0, 0)]), None);
    }

    #[test]
    fn alpha_agrees_with_krippendorffs_own_example() {
        // Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four
        // observers, twelve units, missing values; nominal alpha 0.743.
        let rows: [[u32; 12]; 4] = [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ];
        let value =
            |rater: usize, unit: usize| (rows[rater][unit] > 0).then_some(rows[rater][unit]);
        let cases: Vec<Vec<Option<u32>>> =
            (0..12).map(|unit| (0..4).map(|rater| value(rater, unit)).collect()).collect();
        let alpha = krippendorff_alpha(&cases).unwrap();
        assert!((alpha - 0.743).abs() < 5e-4, "{alpha}");
    }

    #[test]
    fn one_value_alone_says_nothing_about_agreement() {
        assert_eq!(krippendorff_alpha(&[vec![Some(1), Some(1)]]), None);
        assert_eq!(krippendorff_alpha(&[vec![Some(1), None]]), None);
    }

    #[test]
    fn a_judge_that_never_says_no_has_no_balanced_f1() {
        assert_eq!(Confusion::of([(true, true), (true, false)]).balanced_f1(), None);
    }

    #[test]
    fn without_both_kinds_there_is_no_curve() {
        assert_eq!(area_under_curve(&[(0.1, true)]), None);
    }
}
