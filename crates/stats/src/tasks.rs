//! Several tasks together (Agarwal et al. 2021, *Deep Reinforcement Learning at the Edge of the
//! Statistical Precipice*).
//!
//! ```text
//! IQM                         mean of the middle half of the scores of all tasks and runs
//! probability of improvement  mean over tasks of P(a run of X scores above a run of Y), ties half
//! ```

use crate::{Interval, MIN_PROMPTS, Runs, mean, resample};

/// Resamples of prompts behind the interval.
const NUM_RESAMPLES: u64 = 1000;

/// Returns the mean of the middle half of `values`; a value on the border counts in part, so that of
/// fewer than four values most are kept. None without a value.
///
/// ```
/// use preceptor_stats::interquartile_mean;
/// assert_eq!(interquartile_mean(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
/// // A quarter of six values is one and a half: 2 and 5 count half.
/// assert_eq!(interquartile_mean(&[0.0, 2.0, 3.0, 4.0, 5.0, 60.0]), Some(3.5));
/// ```
pub fn interquartile_mean(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let (from, to) = (count / 4.0, 3.0 * count / 4.0);
    let weight = |i: usize| ((i + 1) as f64).min(to) - (i as f64).max(from);
    let weighted = sorted.iter().enumerate().map(|(i, value)| (weight(i).max(0.0), value));
    let sum: f64 = weighted.map(|(weight, value)| weight * value).sum();
    (!sorted.is_empty()).then(|| sum / (to - from))
}

/// Returns the mean over tasks of the chance that a run of `a` scores above a run of `b` on it, ties
/// counting half: `a[task][run]`. Tasks without a run of both don't count; none without a task.
///
/// ```
/// use preceptor_stats::probability_of_improvement;
/// let (a, b) = ([vec![0.6, 0.8], vec![0.5]], [vec![0.7, 0.7], vec![0.5]]);
/// assert_eq!(probability_of_improvement(&a, &b), Some(0.5));
/// ```
pub fn probability_of_improvement(a: &[Vec<f64>], b: &[Vec<f64>]) -> Option<f64> {
    let of_pair = |(x, y): (f64, f64)| match x.total_cmp(&y) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let of_task = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        let pairs = a.iter().flat_map(|&x| b.iter().map(move |&y| (x, y)));
        mean(&pairs.map(of_pair).collect::<Vec<_>>())
    };
    mean(&a.iter().zip(b).filter_map(of_task).collect::<Vec<_>>())
}

/// Returns the interquartile mean over the runs of all tasks, each `tasks[task][run][prompt]`, with the
/// percentile interval of a bootstrap over the prompts of each task. There is no interval where a task has
/// fewer than [`MIN_PROMPTS`].
pub fn interquartile_score(tasks: &[Runs]) -> Option<(f64, Option<Interval>)> {
    let score = |run: &[Option<f64>], prompts: &mut dyn Iterator<Item = usize>| {
        mean(&prompts.filter_map(|prompt| run[prompt]).collect::<Vec<_>>())
    };
    let num_prompts = |task: &Runs| task.first().map_or(0, Vec::len);
    let all = |task: &Runs| {
        let runs = task.iter();
        runs.filter_map(|run| score(run, &mut (0..run.len()))).collect::<Vec<_>>()
    };
    let center = interquartile_mean(&tasks.iter().flat_map(all).collect::<Vec<_>>())?;
    if tasks.iter().any(|task| num_prompts(task) < MIN_PROMPTS) {
        return Some((center, None));
    }
    let resampled = |seed: u64| {
        let of_task = |(i, task): (u64, &Runs)| {
            let seed = seed * tasks.len() as u64 + i;
            let prompts: Vec<usize> = resample(num_prompts(task), seed).collect();
            let of_run = |run: &Vec<Option<f64>>| score(run, &mut prompts.iter().copied());
            task.iter().filter_map(of_run).collect::<Vec<_>>()
        };
        interquartile_mean(&(0..).zip(tasks).flat_map(of_task).collect::<Vec<_>>())
    };
    let mut values: Vec<f64> = (0..NUM_RESAMPLES).filter_map(resampled).collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    let interval = (!values.is_empty()).then(|| Interval { low: at(0.025), high: at(0.975) });
    Some((center, interval.filter(|interval| interval.low < interval.high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_among_tasks_does_not_move_the_interquartile_mean() {
        assert_eq!(interquartile_mean(&[0.5, 0.5, 0.5, 0.0]), Some(0.5));
        assert_eq!(interquartile_mean(&[0.25, 0.75]), Some(0.5));
        assert_eq!(interquartile_mean(&[]), None);
    }

    #[test]
    fn the_interval_is_that_of_a_share_of_prompts() {
        let run: Vec<Option<f64>> =
            (0..100).map(|i| Some(f64::from(u8::from(i % 2 == 0)))).collect();
        let (center, interval) = interquartile_score(&[vec![run.clone()]]).unwrap();
        let Interval { low, high } = interval.unwrap();
        assert_eq!(center, 0.5);
        assert!((low - 0.4).abs() < 0.03 && (high - 0.6).abs() < 0.03, "{low} {high}");
        assert_eq!(interquartile_score(&[vec![run[..9].to_vec()]]).unwrap().1, None);
        assert_eq!(interquartile_score(&[]), None);
    }

    #[test]
    fn tasks_without_runs_of_both_do_not_count() {
        let found = probability_of_improvement(&[vec![0.9], vec![]], &[vec![0.1], vec![0.2]]);
        assert_eq!(found, Some(1.0));
        assert_eq!(probability_of_improvement(&[], &[]), None);
    }
}
