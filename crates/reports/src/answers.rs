//! Comparison of the answers of two pseudo-references, as far as records tell.
//!
//! 1. Two that are both right give the same answer; one that is right and one that is not don't.
//! 2. Otherwise a pseudo-reference has the answer class of the rollout that it is, or of a rollout of
//!    its group whose extracted answer is the same text; classes are compared.
//! 3. An answer that occurs in no rollout is its own text, without spaces around it.
//!
//! No answer and no pseudo-reference are one answer of their own. Equal answers that are written
//! differently count as different where neither is right and one of them occurs in no rollout.

use preceptor_core::PromptId;
use preceptor_core::record::CellRecord;

use crate::evidence::Evidence;
use crate::facts::OutcomeFacts;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    None,
    Class(u32),
    Text(String),
}

/// The answer that the pseudo-reference of one group gives.
#[derive(Clone, Debug)]
pub(crate) struct PromptAnswer {
    answer: Answer,
    /// True if it is right; none where that is unknown.
    pub(crate) is_right: Option<bool>,
    /// True if it has an answer that occurs in no rollout.
    pub(crate) is_new: bool,
}

impl PromptAnswer {
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self.is_right, other.is_right) {
            (Some(true), Some(true)) => true,
            (Some(a), Some(b)) if a != b => false,
            _ => self.answer == other.answer,
        }
    }
}

/// Returns the answer of a prompt's pseudo-reference; none where a call failed.
pub(crate) fn answer_of(
    evidence: &Evidence,
    cell: &CellRecord,
    prompt: &PromptId,
) -> Option<PromptAnswer> {
    let key = prompt.as_str();
    let grade = evidence.grade(cell, key)?;
    let classes = evidence.classes(cell, key)?;
    let class = |index: u32| classes.get(index as usize).copied().flatten();
    let answer = match (&evidence.aggregate(cell, key)?.outcome, &grade.answer) {
        (OutcomeFacts::Abstained(_), _) | (OutcomeFacts::Written(_), None) => Answer::None,
        (OutcomeFacts::Chosen(index), _) => class(*index).map_or(Answer::None, Answer::Class),
        (OutcomeFacts::Written(_), Some(answer)) => {
            let gives_it = |index: &u32| {
                let grade = evidence.rollout_grade(cell, prompt, *index);
                let other = grade.and_then(|grade| grade.answer.as_deref());
                other.is_some_and(|other| other.trim() == answer.trim())
            };
            let class = (0..cell.group_size).find(gives_it).and_then(class);
            class.map_or_else(|| Answer::Text(answer.trim().to_owned()), Answer::Class)
        }
    };
    let is_new = matches!(answer, Answer::Text(_));
    Some(PromptAnswer { answer, is_right: grade.score.value().map(|score| score == 1.0), is_new })
}
