//! What an aggregator estimates from a group.

use serde::{Deserialize, Serialize};

/// Where a pseudo-reference comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It is the rollout of this index, word for word.
    Rollout(u32),
    /// A model wrote it.
    Written,
}

/// The estimate of a good answer, made without a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PseudoReference {
    /// The whole text.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Why there is no pseudo-reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbstainReason {
    /// No rollout of the group carries a final answer.
    NoAnswer,
    /// The group has no rollout.
    EmptyGroup,
    /// No rollout is right; only an upper bound that sees labels can know this.
    NoneCorrect,
}

impl AbstainReason {
    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::EmptyGroup => "empty-group",
            Self::NoneCorrect => "none-correct",
        }
    }
}
