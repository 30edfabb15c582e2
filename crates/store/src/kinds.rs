//! The type of the records of each kind of stage.

use preceptor_core::record::{
    AggregateRecord, AnswerClassRecord, CallRecord, GradeRecord, PromptRecord, RewardRecord,
    RolloutRecord, ScoreRecord, TrainChoiceRecord, TrainCostRecord, TrainGroupRecord,
    TrainStepRecord, ValidationLossRecord,
};
use serde::de::DeserializeOwned;

/// Checks that `json` is a record of a stage of this kind. Accepts everything for unknown kinds.
pub(crate) fn check_record(kind: &str, json: &str) -> serde_json::Result<()> {
    fn read<T: DeserializeOwned>(json: &str) -> serde_json::Result<()> {
        serde_json::from_str::<T>(json).map(drop)
    }
    let read = match kind {
        "prompts" => read::<PromptRecord>,
        "rollouts" => read::<RolloutRecord>,
        "rollout-grades" | "grades" => read::<GradeRecord>,
        "answer-classes" => read::<AnswerClassRecord>,
        "aggregates" => read::<AggregateRecord>,
        "rewards" => read::<RewardRecord>,
        "calls" => read::<CallRecord>,
        "scores" => read::<ScoreRecord>,
        "train-steps" => read::<TrainStepRecord>,
        "train-groups" => read::<TrainGroupRecord>,
        "train-costs" => read::<TrainCostRecord>,
        "train-choice" => read::<TrainChoiceRecord>,
        "validation-losses" => read::<ValidationLossRecord>,
        _ => return Ok(()),
    };
    read(json)
}
