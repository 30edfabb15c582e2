//! Evaluations of a policy while it is trained.

use preceptor_core::Split;
use preceptor_core::record::EvaluationRecord;

use crate::plan::RolloutDemand;

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
            split: self.split,
            num_rollouts: self.demand.group_size,
            prompts: cell.tasks.tasks.iter().map(|task| task.prompt.id.clone()).collect(),
            rollouts: cell.stages.rollouts.digest().clone(),
            rollout_grades: cell.stages.rollout_grades.digest().clone(),
        }
    }
}
