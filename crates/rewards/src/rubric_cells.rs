//! Answers of a judge about each criterion of a rubric, and the reward that follows.

use preceptor_core::{
    Criterion, JudgeFailure, Judged, JudgedCriterion, Rating, Reward, Scale, Usage, Verdict,
};

use crate::outcome::{gravest, judged, mean};

/// The grades of a Likert item.
pub(crate) const LIKERT: Scale = Scale { low: 1, high: 5 };

/// Form of the answer about a criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grading {
    /// Met or not.
    YesNo,
    /// A grade from 1 to 5, scaled to [0, 1].
    Likert,
}

/// A value of one criterion for one rollout.
pub(crate) struct Cell {
    pub(crate) value: Result<f64, JudgeFailure>,
    pub(crate) judged: JudgedCriterion,
    pub(crate) usage: Usage,
}

/// Returns the cells of one rollout.
pub(crate) fn cells<T>(
    row: Vec<Judged<T>>,
    criteria: &[Criterion],
    cell: impl Fn(Judged<T>, Criterion) -> Cell,
) -> Vec<Cell> {
    row.into_iter().zip(criteria).map(|(judged, c)| cell(judged, c.clone())).collect()
}

pub(crate) fn verdict_cell(judged: Judged<Verdict>, criterion: Criterion) -> Cell {
    let value = match judged.answer {
        Verdict::Met => Ok(1.0),
        Verdict::NotMet => Ok(0.0),
        Verdict::Failed(failure) => Err(failure),
    };
    let usage = judged.usage;
    Cell { value, judged: JudgedCriterion::Verdict { criterion, judged }, usage }
}

pub(crate) fn rating_cell(judged: Judged<Rating>, criterion: Criterion) -> Cell {
    let value = match judged.answer {
        Rating::Rated(grade) => scaled(grade, LIKERT),
        Rating::Failed(failure) => Err(failure),
    };
    let usage = judged.usage;
    Cell { value, judged: JudgedCriterion::Rating { criterion, judged }, usage }
}

/// Returns a grade in [0, 1]: (grade - low) / (high - low). A grade that is not on the scale is none.
pub(crate) fn scaled(grade: u32, scale: Scale) -> Result<f64, JudgeFailure> {
    if (scale.low..=scale.high).contains(&grade) {
        Ok(f64::from(grade - scale.low) / f64::from(scale.high - scale.low))
    } else {
        Err(JudgeFailure::Unreadable)
    }
}

/// Returns the mean of a rollout's cells. If one is missing, so is the reward.
pub(crate) fn reward(row: Vec<Cell>, grading: Grading) -> Reward {
    let count = row.len();
    let failures: Vec<JudgeFailure> = row.iter().filter_map(|cell| cell.value.err()).collect();
    let known: Vec<f64> = row.iter().filter_map(|cell| cell.value.ok()).collect();
    let value = match gravest(failures.iter().copied()) {
        Some(failure) => Err(failure),
        None => mean(&known).ok_or(JudgeFailure::Unreadable),
    };
    let reason = match (value, grading) {
        (Err(failure), _) => {
            format!("{} of {count} verdicts missing: {}", failures.len(), failure.name())
        }
        (Ok(_), Grading::YesNo) => {
            format!("{} of {count} criteria met", known.iter().sum::<f64>())
        }
        (Ok(mean), Grading::Likert) => {
            let grade = f64::from(LIKERT.low) + mean * f64::from(LIKERT.high - LIKERT.low);
            format!("mean grade {grade:.2} on {count} criteria")
        }
    };
    judged(value, reason, row.into_iter().map(|cell| cell.judged).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_are_scaled_from_1_to_5() {
        assert_eq!(
            [1, 2, 3, 4, 5].map(|grade| scaled(grade, LIKERT).unwrap()),
            [0.0, 0.25, 0.5, 0.75, 1.0]
        );
        assert_eq!(scaled(6, LIKERT), Err(JudgeFailure::Unreadable));
    }
}
