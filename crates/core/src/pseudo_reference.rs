//! Pseudo-references: estimates from a group.

use serde::{Deserialize, Serialize};

/// Origin of a pseudo-reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The rollout of this index, word for word.
    Rollout(u32),
    /// A model wrote it.
    Written,
}

/// The estimate of a good answer, made without a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PseudoReference {
    /// The whole text.
    pub text: String,
    /// The origin.
    pub origin: Origin,
}

/// Reason that there is no pseudo-reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbstainReason {
    /// No rollout of the group carries a final answer.
    NoAnswer,
    /// The group has no rollout.
    EmptyGroup,
    /// No rollout is right; only an upper bound that sees labels can know this.
    NoneCorrect,
    /// The rollouts carry no log-probabilities.
    NoLogprobs,
    /// A model was asked, and its reply does not have the form that was asked for.
    Unreadable,
    /// A model was asked, and its reply was cut off.
    CutOff,
    /// A model was asked and declined.
    Refused,
    /// The question does not fit into the model's context window.
    PromptTooLong,
    /// A call did not succeed. Asking again later may.
    CallFailed,
}

impl AbstainReason {
    /// Returns true if asking again later may succeed; such an outcome is not stored as a result.
    pub fn is_transient(self) -> bool {
        self == Self::CallFailed
    }

    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::EmptyGroup => "empty-group",
            Self::NoneCorrect => "none-correct",
            Self::NoLogprobs => "no-logprobs",
            Self::Unreadable => "unreadable",
            Self::CutOff => "cut-off",
            Self::Refused => "refused",
            Self::PromptTooLong => "prompt-too-long",
            Self::CallFailed => "call-failed",
        }
    }
}
