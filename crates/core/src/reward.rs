//! Rewards of a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Criterion, JudgeFailure, Judged, Rating, Rubric, Usage, Verdict};

/// Reason that a rollout has no reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnrewardedReason {
    /// The group has no pseudo-reference, and the reward needs one.
    NoReference,
    /// No rubric could be read from the anchor's replies.
    NoRubric,
    /// A call for the rubric did not succeed. Asking again later may.
    CallFailed,
    /// A verdict or rating that the reward needs is missing.
    Judge(JudgeFailure),
    /// The label gives no such reward; only an upper bound that sees labels can know this.
    NoLabel,
}

impl UnrewardedReason {
    /// Returns true if asking again later may succeed; such a reward is not stored as a result.
    pub fn is_transient(self) -> bool {
        match self {
            Self::CallFailed => true,
            Self::Judge(failure) => failure.is_transient(),
            Self::NoReference | Self::NoRubric | Self::NoLabel => false,
        }
    }

    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoReference => "no-reference",
            Self::NoRubric => "no-rubric",
            Self::CallFailed => "call-failed",
            Self::Judge(failure) => failure.name(),
            Self::NoLabel => "no-label",
        }
    }
}

/// The reward of one rollout. What could not be measured is no number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardValue {
    /// The reward; its range is the deriver's.
    Rewarded(f64),
    /// There is none, and why.
    Unrewarded(UnrewardedReason),
}

impl RewardValue {
    /// The number, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Rewarded(value) => Some(*value),
            Self::Unrewarded(_) => None,
        }
    }
}

/// Answer of a judge that a reward is computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JudgedCriterion {
    /// Met or not.
    Verdict {
        /// The criterion that was checked.
        criterion: Criterion,
        /// Answer of the judge.
        judged: Judged<Verdict>,
    },
    /// A grade.
    Rating {
        /// The criterion that was graded.
        criterion: Criterion,
        /// Answer of the judge.
        judged: Judged<Rating>,
    },
}

/// The reward of one rollout with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reward {
    /// The number, or why there is none.
    pub value: RewardValue,
    /// Explanation for people.
    pub reason: String,
    /// The judge's answers behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<JudgedCriterion>,
}

/// Rewards that a deriver gives to a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupReward {
    /// Rewards of the rollouts, in the order of the group.
    pub rewards: Vec<Reward>,
    /// The self-proposed rubric, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rubric: Option<Rubric>,
    /// Named numbers about the rewards; the deriver documents them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<String, f64>,
    /// Tokens spent on it.
    pub usage: Usage,
}

impl GroupReward {
    /// The group of `num_rollouts` rollouts none of which is rewarded, for one reason.
    pub fn unrewarded(num_rollouts: usize, reason: UnrewardedReason) -> Self {
        let reward = Reward {
            value: RewardValue::Unrewarded(reason),
            reason: reason.name().to_owned(),
            judged: Vec::new(),
        };
        Self {
            rewards: vec![reward; num_rollouts],
            rubric: None,
            measures: BTreeMap::new(),
            usage: Usage::default(),
        }
    }

    /// Returns true if asking again later may give a reward that is missing now.
    pub fn is_transient(&self) -> bool {
        self.rewards.iter().any(|reward| match reward.value {
            RewardValue::Unrewarded(reason) => reason.is_transient(),
            RewardValue::Rewarded(_) => false,
        })
    }
}
