//! Evaluations of a policy while it is trained.

use preceptor_core::record::EvaluationRecord;
use serde::{Deserialize, Serialize};

use crate::plan::RolloutDemand;

/// Prompts that a policy is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Those it is trained on, without their labels.
    TestTime,
    /// Others.
    HeldOut,
    /// Others again, whose score may end the training.
    Validation,
}

impl Split {
    /// The name in manifests and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TestTime => "test-time",
            Self::HeldOut => "held-out",
            Self::Validation => "validation",
        }
    }
}

/// One evaluation: the policy after some steps on the prompts of a split.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    pub(crate) step: u64,
    pub(crate) split: Split,
    /// Its rollouts; the cell in it has the policy of that step and the split's tasks.
    pub(crate) demand: RolloutDemand,
}

impl Evaluation {
    pub(crate) fn record(&self) -> EvaluationRecord {
        let cell = &self.demand.cell;
        EvaluationRecord {
            step: self.step,
            split: self.split.name().to_owned(),
            num_rollouts: self.demand.group_size,
            prompts: cell.tasks.tasks.iter().map(|task| task.prompt.id.clone()).collect(),
            rollouts: cell.stages.rollouts.digest().clone(),
            rollout_grades: cell.stages.rollout_grades.digest().clone(),
        }
    }
}
