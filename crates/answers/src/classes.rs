//! Classes of equal answers, for votes.
//!
//! Answers vote by [`canonical`] form, a true equivalence that reads an answer as
//! [`crate::GraderProfile::Verify`] does. Grading is none for units, names, lists without brackets
//! and curves: there a class is coarser or finer, as `verify/canonical.rs` lists. A missing or blank answer is an abstention:
//! a class of its own that never wins.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verify;

/// The canonical form of an answer. Equality of keys is equality of votes.
///
/// Rationals show as themselves; other numbers and expressions as the residue they were
/// identified by.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[serde(transparent)]
pub struct CanonicalKey(String);

impl fmt::Display for CanonicalKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Returns the canonical form of an answer; a blank answer has the empty key.
///
/// ```
/// use preceptor_answers::canonical;
/// assert_eq!(canonical(r"\frac{1}{2}"), canonical("0.5"));
/// assert_eq!(canonical("(x+1)^2"), canonical("x^2 + 2x + 1"));
/// assert_ne!(canonical("(1, 2)"), canonical("(2, 1)"));
/// assert_eq!(canonical(r"\frac{2}{4}").to_string(), "1/2");
/// ```
pub fn canonical(answer: &str) -> CanonicalKey {
    CanonicalKey(verify::canonical_key(answer).unwrap_or_default())
}

/// A class of equal answers.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct AnswerClass {
    /// The canonical form; `None` for the abstentions.
    pub key: Option<CanonicalKey>,
    /// The positions of its answers, ascending.
    pub members: Vec<usize>,
}

impl AnswerClass {
    /// Returns the number of answers in the class.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Returns whether this is the class of missing and blank answers.
    pub fn is_abstention(&self) -> bool {
        self.key.is_none()
    }
}

/// The class that wins a vote.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Majority {
    /// The winner's index in [`Classes::classes`]; the earliest of the tied.
    pub class: usize,
    /// The number of votes.
    pub count: usize,
    /// All classes with that many votes, the winner first; longer than one in a tie.
    pub tied: Vec<usize>,
}

/// Answers by class, in order of first appearance.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Classes {
    /// For every answer the index of its class.
    pub class_of: Vec<usize>,
    /// The classes.
    pub classes: Vec<AnswerClass>,
}

impl Classes {
    /// Returns the number of answers in each class.
    pub fn counts(&self) -> Vec<usize> {
        self.classes.iter().map(AnswerClass::count).collect()
    }

    /// Returns the number of rollouts without an answer.
    pub fn num_abstentions(&self) -> usize {
        self.classes.iter().find(|class| class.is_abstention()).map_or(0, AnswerClass::count)
    }

    /// Returns the indices of the largest classes, abstentions aside, by first appearance.
    pub fn largest(&self) -> Vec<usize> {
        let answered = |class: &&AnswerClass| !class.is_abstention();
        let most = self.classes.iter().filter(answered).map(AnswerClass::count).max();
        let indices = 0..self.classes.len();
        indices
            .filter(|&at| {
                !self.classes[at].is_abstention() && Some(self.classes[at].count()) == most
            })
            .collect()
    }

    /// Returns the vote's winner; `None` when every answer is an abstention.
    pub fn majority(&self) -> Option<Majority> {
        let tied = self.largest();
        let class = *tied.first()?;
        Some(Majority { class, count: self.classes[class].count(), tied })
    }
}

/// Groups answers by canonical form.
///
/// ```
/// use preceptor_answers::classify;
/// let classes = classify(&[Some("0.5"), None, Some(r"\frac12"), Some("3"), Some("  ")]);
/// assert_eq!(classes.class_of, [0, 1, 0, 2, 1]);
/// assert_eq!(classes.majority().unwrap().count, 2);
/// assert_eq!(classes.num_abstentions(), 2);
/// ```
pub fn classify(answers: &[Option<&str>]) -> Classes {
    let mut index_of = BTreeMap::new();
    let mut classes: Vec<AnswerClass> = Vec::new();
    let mut class_of = Vec::with_capacity(answers.len());
    for (position, answer) in answers.iter().enumerate() {
        let key = answer.and_then(verify::canonical_key).map(CanonicalKey);
        let class = *index_of.entry(key).or_insert_with_key(|key| {
            classes.push(AnswerClass { key: key.clone(), members: Vec::new() });
            classes.len() - 1
        });
        classes[class].members.push(position);
        class_of.push(class);
    }
    Classes { class_of, classes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_in_different_notations_do_not_split_the_vote() {
        let classes = classify(&[Some("0.5"), Some("1/2"), Some(r"\frac12"), Some("3"), Some("3")]);
        let majority = classes.majority().unwrap();
        assert_eq!((majority.class, majority.count), (0, 3));
        assert_eq!(majority.tied, [0]);
    }

    #[test]
    fn abstentions_never_win_and_are_counted() {
        let classes = classify(&[None, None, Some(""), Some("7")]);
        assert_eq!(classes.majority().unwrap().class, 1);
        assert_eq!(classes.num_abstentions(), 3);
        assert_eq!(classify(&[None, Some("  ")]).majority(), None);
        assert_eq!(classify(&[]).majority(), None);
    }

    #[test]
    fn ties_are_reported_and_go_to_the_class_seen_first() {
        let majority =
            classify(&[Some("2"), Some("1"), Some("1"), Some("2.0")]).majority().unwrap();
        assert_eq!((majority.class, majority.count), (0, 2));
        assert_eq!(majority.tied, [0, 1]);
    }

    #[test]
    fn an_assignment_votes_with_its_value_and_units_do_not_split() {
        for (a, b) in [("x = 5", "5"), (r"15 \text{ cm}^2", "15"), (r"90^\circ", "90")] {
            assert_eq!(canonical(a), canonical(b), "{a} and {b}");
        }
        assert_ne!(canonical("x = 5, y = 3"), canonical("x = 3, y = 5"));
    }
}
