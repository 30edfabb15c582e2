//! The verdict on one pair.

use serde::{Deserialize, Serialize};

use crate::verify::ValueKind;

/// Verdict on an answer, with the reason.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub struct Grade {
    /// The verdict.
    pub equal: bool,
    /// A short explanation for people: "both are the rational 1/2".
    pub reason: String,
    /// The kind of value that the label parsed to; `verify` only.
    pub label_kind: Option<ValueKind>,
    /// The kind of value that the answer parsed to; `verify` only.
    pub answer_kind: Option<ValueKind>,
}

impl Grade {
    /// Returns a verdict of a profile that compares strings.
    pub(crate) fn of_strings(equal: bool, reason: impl Into<String>) -> Self {
        Self { equal, reason: reason.into(), label_kind: None, answer_kind: None }
    }

    /// Returns the verdict on a rollout without an answer.
    pub(crate) fn abstention() -> Self {
        Self::of_strings(false, "no answer was given")
    }
}
