//! Verdicts and ratings of a judge, as the explorer shows them.

use preceptor_core::{Criterion, Evidence, JudgedCriterion, Rating, Verdict};
use serde::Serialize;

use crate::explorer::texts::{TextId, Texts};

/// A judge's answer on one criterion. What most answers share is left out.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JudgedView {
    pub(crate) criterion: TextId,
    /// `met`, `not met`, a grade, or `failed: ` with the reason why there is none.
    pub(crate) answer: String,
    /// The judge's last reply, word for word. Criteria of one call share it.
    pub(crate) reply: TextId,
    /// Left out if it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) points: Option<f64>,
    /// Number of replies; left out if it is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) margin: Option<f64>,
    /// True if it is a grade on a scale.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) rated: bool,
    #[serde(skip)]
    failed: bool,
}

impl JudgedView {
    /// Returns whether the criterion is met; none for ratings and failures.
    pub(crate) fn met(&self) -> Option<bool> {
        let is_verdict = !self.rated && !self.failed;
        is_verdict.then(|| self.answer == "met")
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }
}

pub(crate) fn judged_views(judged: &[JudgedCriterion], texts: &mut Texts) -> Vec<JudgedView> {
    judged.iter().map(|judged| view(judged, texts)).collect()
}

fn view(judged: &JudgedCriterion, texts: &mut Texts) -> JudgedView {
    let mut new =
        |criterion: &Criterion, evidence: &Evidence, answer: String, failed: bool| JudgedView {
            criterion: texts.add(&criterion.text),
            answer,
            reply: texts.add(&evidence.reply),
            points: Some(criterion.points).filter(|points| *points != 1.0),
            attempts: Some(evidence.num_attempts).filter(|attempts| *attempts != 1),
            margin: evidence.margin,
            rated: false,
            failed,
        };
    match judged {
        JudgedCriterion::Verdict { criterion, judged } => {
            let (answer, failed) = match judged.answer {
                Verdict::Met => ("met".to_owned(), false),
                Verdict::NotMet => ("not met".to_owned(), false),
                Verdict::Failed(failure) => (format!("failed: {}", failure.name()), true),
            };
            new(criterion, &judged.evidence, answer, failed)
        }
        JudgedCriterion::Rating { criterion, judged } => {
            let (answer, failed) = match judged.answer {
                Rating::Rated(grade) => (grade.to_string(), false),
                Rating::Failed(failure) => (format!("failed: {}", failure.name()), true),
            };
            JudgedView { rated: true, ..new(criterion, &judged.evidence, answer, failed) }
        }
    }
}
