//! The difference of two conditions on the same prompts.
//!
//! ```text
//! d_p = mean over seeds of a_sp - b_sp        mean = 1/P sum_p d_p        p: the paired t test over d_p
//! ```
//!
//! For final answers the differences are in [-1, 1] and mostly 0, -1 or 1. The t interval then reaches
//! beyond what is possible for few prompts, and has no width where no prompt differs. So the interval is that
//! of Bonett and Price (2012, *Adjusted Wald confidence interval for a difference of binomial proportions
//! based on paired data*) with the t quantile: the t interval with two pseudo-prompts added, one of
//! difference 1 and one of -1, cut at -1 and 1. The p-value is of the differences as they are, so that the two
//! can disagree where p is close to 0.05.
//!
//! For rubrics it is the t interval. Below [`MIN_PROMPTS`] there is neither interval nor
//! p-value.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use crate::estimate::{Interval, MIN_PROMPTS};
use crate::{Estimate, Scale, clustered_mean};

/// The differences of the prompts that are added for the interval of final answers.
pub(crate) const PSEUDO_PROMPTS: [f64; 2] = [1.0, -1.0];

/// Difference of two conditions, paired by prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedDifference {
    /// Mean difference with its interval.
    pub estimate: Estimate,
    /// Two-sided p-value of the paired t test over prompts. Where all differences are equal it is that of
    /// the sign-flip test: 1 if they are 0, else `2^(1-P)`. None below the least number of prompts.
    pub p_value: Option<f64>,
}

/// Returns `a - b` by run and prompt; none where a side lacks a score.
///
/// # Panics
///
/// If `a` and `b` differ in their number of runs or prompts: they are paired by index.
pub(crate) fn differences(a: &[Vec<Option<f64>>], b: &[Vec<Option<f64>>]) -> crate::Runs {
    assert_eq!(a.len(), b.len(), "runs are paired by place");
    let of_run = |(a, b): (&Vec<Option<f64>>, &Vec<Option<f64>>)| {
        assert_eq!(a.len(), b.len(), "prompts are paired by place");
        a.iter().zip(b).map(|(a, b)| Some((*a)? - (*b)?)).collect()
    };
    a.iter().zip(b).map(of_run).collect()
}

/// Returns the mean of `a - b` over prompts, each side `scores[seed][prompt]`; a prompt's seeds are
/// averaged first. None without a prompt that both have scores of, for the same seed.
///
/// # Panics
///
/// If `a` and `b` differ in their number of seeds or prompts: they are paired by index.
pub fn paired_difference(
    scale: Scale,
    a: &[Vec<Option<f64>>],
    b: &[Vec<Option<f64>>],
) -> Option<PairedDifference> {
    let clusters = crate::by_prompt(&differences(a, b));
    let raw = clustered_mean(&clusters)?;
    let is_enough = raw.num_clusters >= MIN_PROMPTS;
    let p_value = is_enough.then(|| p_value(&raw));
    let interval = match scale {
        Scale::Proportion => {
            let mut adjusted = clusters;
            adjusted.extend(PSEUDO_PROMPTS.map(|value| vec![value]));
            let interval = clustered_mean(&adjusted).and_then(|estimate| estimate.interval);
            interval.map(|Interval { low, high }| Interval {
                low: low.clamp(-1.0, raw.mean),
                high: high.clamp(raw.mean, 1.0),
            })
        }
        // Without any spread there is no measure of uncertainty.
        Scale::Rubric => raw.interval.filter(|interval| interval.low < interval.high),
    };
    let estimate = Estimate { interval: interval.filter(|_| is_enough), ..raw };
    Some(PairedDifference { estimate, p_value })
}

fn p_value(estimate: &Estimate) -> f64 {
    match estimate.std_error {
        Some(std_error) if std_error > 0.0 => {
            let t = StudentsT::new(0.0, 1.0, (estimate.num_clusters - 1) as f64)
                .expect("a standard error needs two clusters");
            2.0 * t.cdf(-(estimate.mean / std_error).abs())
        }
        _ if estimate.mean == 0.0 => 1.0,
        _ => 2.0_f64.powi(1 - estimate.num_clusters as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::SplitMix64;

    fn one_seed(values: &[f64]) -> crate::Runs {
        vec![values.iter().copied().map(Some).collect()]
    }

    #[test]
    fn prompts_that_only_one_side_has_are_left_out() {
        let a = [vec![Some(1.0), None, Some(0.0)]];
        let b = [vec![Some(0.0), Some(1.0), Some(0.0)]];
        let difference = paired_difference(Scale::Proportion, &a, &b).unwrap();
        assert_eq!((difference.estimate.num_clusters, difference.estimate.mean), (2, 0.5));
    }

    #[test]
    fn seeds_are_paired_within_each_prompt() {
        let a = [vec![Some(1.0), Some(1.0)], vec![Some(0.0), None]];
        let b = [vec![Some(0.0), Some(1.0)], vec![Some(0.0), Some(1.0)]];
        let difference = paired_difference(Scale::Proportion, &a, &b).unwrap();
        assert_eq!((difference.estimate.mean, difference.estimate.num_values), (0.25, 3));
    }

    #[test]
    fn few_prompts_show_neither_interval_nor_p_value() {
        let (a, b) = (one_seed(&[1.0; 9]), one_seed(&[0.0; 9]));
        let few = paired_difference(Scale::Proportion, &a, &b).unwrap();
        assert_eq!((few.estimate.mean, few.estimate.interval, few.p_value), (1.0, None, None));
    }

    #[test]
    fn equal_conditions_have_an_interval_with_width_and_no_evidence() {
        let a = one_seed(&[1.0; 20]);
        let same = paired_difference(Scale::Proportion, &a, &a).unwrap();
        let Interval { low, high } = same.estimate.interval.unwrap();
        assert!(low < -0.05 && high > 0.05 && (low + high).abs() < 1e-12, "{low} {high}");
        assert_eq!(same.p_value, Some(1.0));
        assert_eq!(paired_difference(Scale::Rubric, &a, &a).unwrap().estimate.interval, None);
        let always = paired_difference(Scale::Proportion, &a, &one_seed(&[0.0; 20])).unwrap();
        assert_eq!(always.p_value, Some(2.0_f64.powi(-19)));
    }

    #[test]
    fn differences_of_shares_stay_in_range_and_hold_the_truth() {
        let mut generator = SplitMix64(11);
        let mut uniform = || (generator.next() >> 11) as f64 / (1_u64 << 53) as f64;
        // Chances of the differences 1 and -1.
        for (num_prompts, better, worse) in
            [(10, 0.4, 0.05), (12, 0.9, 0.02), (30, 0.02, 0.01), (100, 0.15, 0.1)]
        {
            let mut num_held = 0;
            for _ in 0..1000 {
                let mut difference = || match uniform() {
                    u if u < better => 1.0,
                    u if u < better + worse => -1.0,
                    _ => 0.0,
                };
                let a: Vec<f64> = (0..num_prompts).map(|_| difference()).collect();
                let found = paired_difference(
                    Scale::Proportion,
                    &one_seed(&a),
                    &one_seed(&vec![0.0; num_prompts]),
                );
                let estimate = found.unwrap().estimate;
                let Interval { low, high } = estimate.interval.unwrap();
                assert!(
                    -1.0 <= low && low <= estimate.mean && estimate.mean <= high && high <= 1.0
                );
                num_held += u32::from(low <= better - worse && better - worse <= high);
            }
            assert!(num_held >= 930, "{num_prompts} {better} {worse}: {num_held} of 1000");
        }
    }
}
