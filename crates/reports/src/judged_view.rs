//! Verdicts and ratings of a judge, as the explorer shows them.

use preceptor_core::{Criterion, Evidence, JudgedCriterion, Rating, Verdict};
use serde::Serialize;

/// A judge's answer on one criterion.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct JudgedView {
    criterion: String,
    points: f64,
    /// `met`, `not met`, a grade, or the reason why there is none.
    answer: String,
    /// True if the criterion is met; none for ratings and failures.
    met: Option<bool>,
    failed: bool,
    num_attempts: u32,
    margin: Option<f64>,
    /// The judge's last reply, word for word. Answers from the same reply carry it once, on the
    /// first.
    reply: String,
}

impl JudgedView {
    pub(crate) fn is_failed(&self) -> bool {
        self.failed
    }

    fn new(criterion: &Criterion, evidence: &Evidence, answer: String, met: Option<bool>) -> Self {
        Self {
            criterion: criterion.text.clone(),
            points: criterion.points,
            answer,
            met,
            failed: false,
            num_attempts: evidence.num_attempts,
            margin: evidence.margin,
            reply: evidence.reply.clone(),
        }
    }
}

pub(crate) fn judged_views(judged: &[JudgedCriterion]) -> Vec<JudgedView> {
    let mut views: Vec<JudgedView> = judged.iter().map(view).collect();
    let replies: Vec<String> = views.iter().map(|view| view.reply.clone()).collect();
    for (i, view) in views.iter_mut().enumerate().skip(1) {
        if replies[i] == replies[i - 1] {
            view.reply.clear();
        }
    }
    views
}

fn view(judged: &JudgedCriterion) -> JudgedView {
    match judged {
        JudgedCriterion::Verdict { criterion, judged } => {
            let (answer, failed) = match judged.answer {
                Verdict::Met => ("met".to_owned(), false),
                Verdict::NotMet => ("not met".to_owned(), false),
                Verdict::Failed(failure) => (format!("failed: {}", failure.name()), true),
            };
            let met = judged.answer.met();
            JudgedView { failed, ..JudgedView::new(criterion, &judged.evidence, answer, met) }
        }
        JudgedCriterion::Rating { criterion, judged } => {
            let (answer, failed) = match judged.answer {
                Rating::Rated(grade) => (grade.to_string(), false),
                Rating::Failed(failure) => (format!("failed: {}", failure.name()), true),
            };
            JudgedView { failed, ..JudgedView::new(criterion, &judged.evidence, answer, None) }
        }
    }
}
