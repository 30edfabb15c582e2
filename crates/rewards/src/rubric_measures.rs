//! Measures of a rubric after use.
//!
//! `grid[i][k]` is the value of criterion k for rollout i, from 0 (not met, lowest grade) to 1 (met,
//! highest grade); none where the judge failed. Failures enter no number here but their count.
//!
//! - `num-criteria`
//! - `satisfaction-variance`: of the mean over criteria, over the rollouts without a failure
//!   (population variance); 0 means that the rubric tells none of them apart.
//! - `always-met`, `never-met`: shares of the criteria whose known values are all 1, all 0. Such
//!   criteria carry no signal within the group. Criteria of which nothing is known are left out.
//! - `redundancy`: mean over pairs of criteria of the Jaccard similarity of their sets of words, without
//!   case and punctuation; 1 if all say the same in the same words.
//! - `failed-verdicts`: how many values are missing.
//!
//! A measure that does not exist (one criterion has no pairs) is absent.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::Rubric;

use crate::outcome::{mean, measure};
use crate::rubric_parser::words;

pub(crate) fn rubric_measures(rubric: &Rubric, grid: &[Vec<Option<f64>>]) -> BTreeMap<String, f64> {
    let satisfied: Vec<f64> = grid
        .iter()
        .filter_map(|row| row.iter().copied().collect::<Option<Vec<f64>>>())
        .filter_map(|row| mean(&row))
        .collect();
    let known: Vec<Vec<f64>> = (0..rubric.criteria.len())
        .map(|k| grid.iter().filter_map(|row| row.get(k).copied().flatten()).collect())
        .filter(|column: &Vec<f64>| !column.is_empty())
        .collect();
    let share = |wanted: f64| {
        let all = |column: &Vec<f64>| column.iter().all(|value| *value == wanted);
        mean(&known.iter().map(|column| f64::from(u8::from(all(column)))).collect::<Vec<_>>())
    };
    let num_failed = grid.iter().flatten().filter(|value| value.is_none()).count();
    let mut measures = BTreeMap::from([
        ("num-criteria".to_owned(), rubric.criteria.len() as f64),
        ("failed-verdicts".to_owned(), num_failed as f64),
    ]);
    measure(&mut measures, "satisfaction-variance", variance(&satisfied));
    measure(&mut measures, "always-met", share(1.0));
    measure(&mut measures, "never-met", share(0.0));
    measure(&mut measures, "redundancy", redundancy(rubric));
    measures
}

fn variance(numbers: &[f64]) -> Option<f64> {
    let center = mean(numbers)?;
    mean(&numbers.iter().map(|number| (number - center).powi(2)).collect::<Vec<_>>())
}

fn redundancy(rubric: &Rubric) -> Option<f64> {
    let sets: Vec<BTreeSet<String>> =
        rubric.criteria.iter().map(|c| words(&c.text).into_iter().collect()).collect();
    let mut similarities = Vec::new();
    for (index, a) in sets.iter().enumerate() {
        for b in &sets[index + 1..] {
            let shared = a.intersection(b).count() as f64;
            let either = a.union(b).count() as f64;
            similarities.push(if either == 0.0 { 1.0 } else { shared / either });
        }
    }
    mean(&similarities)
}

#[cfg(test)]
mod tests {
    use preceptor_core::Criterion;

    use super::*;

    fn rubric(texts: &[&str]) -> Rubric {
        Rubric { criteria: texts.iter().map(|text| Criterion::new(*text)).collect() }
    }

    #[test]
    fn a_worked_example() {
        let (yes, no) = (Some(1.0), Some(0.0));
        let grid = [vec![yes, yes, no], vec![yes, no, no], vec![yes, None, no]];
        let measures = rubric_measures(&rubric(&["a b", "B, c", "d"]), &grid);
        // Means 2/3 and 1/3; the third rollout has a failure.
        assert!((measures["satisfaction-variance"] - 1.0 / 36.0).abs() < 1e-12);
        assert!((measures["always-met"] - 1.0 / 3.0).abs() < 1e-12);
        assert!((measures["never-met"] - 1.0 / 3.0).abs() < 1e-12);
        // Pairs: 1/3, 0, 0.
        assert!((measures["redundancy"] - 1.0 / 9.0).abs() < 1e-12);
        assert_eq!((measures["num-criteria"], measures["failed-verdicts"]), (3.0, 1.0));
    }

    #[test]
    fn what_does_not_exist_is_absent() {
        let measures = rubric_measures(&rubric(&["a"]), &[vec![None]]);
        let names: Vec<_> = measures.keys().map(String::as_str).collect();
        assert_eq!(names, ["failed-verdicts", "num-criteria"]);
    }
}
