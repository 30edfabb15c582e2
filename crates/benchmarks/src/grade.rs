//! Grades of texts against labels.

use preceptor_answers::GraderProfile;
use preceptor_core::record::Score;

use crate::Label;

/// The grade of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// 1 if the final answer equals the label, else 0.
    pub score: Score,
    /// The final answer in the text.
    pub answer: Option<String>,
    /// The rule by which it was found, or why none was.
    pub extraction: String,
    /// The reason for the score.
    pub reason: String,
}

/// Grades `text` against `label` by the rules of `profile`: extraction, then equality. A text
/// without a final answer scores 0 with that reason; that is the benchmark's rule, not a missing
/// score.
pub fn grade(profile: GraderProfile, label: &Label, text: &str) -> Graded {
    let extraction = profile.extract(text);
    let Some(answer) = label.answer() else {
        let reason = "the label is no final answer".to_owned();
        return Graded {
            score: Score::Unscored(reason.clone()),
            answer: extraction.answer,
            extraction: extraction.rule.name().to_owned(),
            reason,
        };
    };
    let grade = profile.grade(answer, extraction.answer.as_deref());
    Graded {
        score: Score::Scored(f64::from(u8::from(grade.equal))),
        answer: extraction.answer,
        extraction: extraction.rule.name().to_owned(),
        reason: grade.reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_answer_decides() {
        let label = Label::new(r"\frac{1}{2}");
        let right = grade(GraderProfile::Verify, &label, r"First \boxed{2}, no: \boxed{0.5}.");
        assert_eq!((right.score, right.answer.as_deref()), (Score::Scored(1.0), Some("0.5")));
        let wrong = grade(GraderProfile::Verify, &label, r"\boxed{2}");
        assert_eq!(wrong.score, Score::Scored(0.0));
        let none = grade(GraderProfile::Verify, &label, "one half, I think");
        assert_eq!((none.score, none.answer), (Score::Scored(0.0), None));
    }
}
