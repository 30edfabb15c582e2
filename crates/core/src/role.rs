//! Roles in which a run asks models.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role in which a model is asked. Calls and their costs are recorded by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelRole {
    /// Writes pseudo-references and rubrics, with frozen weights.
    Anchor,
    /// Grades answers for the benchmark's score.
    EvalJudge,
    /// Judges rollouts for a reward.
    Judge,
    /// Selects among its own rollouts.
    Policy,
    /// Samples the rollouts of a stage.
    Rollouts,
    /// Samples the rollouts of training steps.
    Training,
}

impl ModelRole {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Anchor, Self::EvalJudge, Self::Judge, Self::Policy, Self::Rollouts, Self::Training];

    /// Returns the name in records and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::EvalJudge => "eval-judge",
            Self::Judge => "judge",
            Self::Policy => "policy",
            Self::Rollouts => "rollouts",
            Self::Training => "training",
        }
    }
}

impl fmt::Display for ModelRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
