//! Verdicts of a judge, with the evidence.

use serde::{Deserialize, Serialize};

use crate::Usage;

/// Reason that a judge gave no answer. It is never a "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JudgeFailure {
    /// The call did not succeed. Asking again later may.
    CallFailed,
    /// No answer could be read from any of the allowed replies.
    Unreadable,
    /// The last reply says both yes and no.
    Contradictory,
    /// The judge declined.
    Refused,
    /// Every reply was cut off before the answer.
    CutOff,
    /// The question does not fit into the judge's context window.
    PromptTooLong,
}

impl JudgeFailure {
    /// Returns true if asking again later may succeed; such a failure is not stored as a result.
    pub fn is_transient(self) -> bool {
        self == Self::CallFailed
    }

    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CallFailed => "call-failed",
            Self::Unreadable => "unreadable",
            Self::Contradictory => "contradictory",
            Self::Refused => "refused",
            Self::CutOff => "cut-off",
            Self::PromptTooLong => "prompt-too-long",
        }
    }
}

/// Verdict on a response and a criterion: three states, never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The response meets the criterion.
    Met,
    /// The response does not meet the criterion.
    NotMet,
    /// The judge could not be understood or reached.
    Failed(JudgeFailure),
}

impl Verdict {
    /// A verdict from a truth value.
    pub fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::NotMet }
    }

    /// Returns true if the criterion is met, false if not, and none if that is unknown.
    pub fn met(self) -> Option<bool> {
        match self {
            Self::Met => Some(true),
            Self::NotMet => Some(false),
            Self::Failed(_) => None,
        }
    }
}

/// A grade on a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rating {
    /// The grade, within the scale that was asked for.
    Rated(u32),
    /// The judge could not be understood or reached.
    Failed(JudgeFailure),
}

/// Evidence of a judge's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    /// The judge's last reply, word for word; empty where there was none.
    pub reply: String,
    /// Replies that were asked for.
    pub num_attempts: u32,
    /// For judges that compare log-probabilities: that of "yes" less that of "no".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
}

/// A judge's answer with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judged<T> {
    /// The answer.
    pub answer: T,
    /// The evidence. Criteria of one call share a reply.
    pub evidence: Evidence,
    /// Tokens spent on it; a call's tokens count with its first answer.
    pub usage: Usage,
}
