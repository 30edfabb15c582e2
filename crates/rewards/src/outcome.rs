//! Short ways to build what derivers return.

use std::collections::BTreeMap;

use preceptor_core::{
    GroupReward, JudgeFailure, JudgedCriterion, Reward, RewardValue, UnrewardedReason, Usage,
};

/// Returns a reward that no judge was asked for.
pub(crate) fn rewarded(value: f64, reason: impl Into<String>) -> Reward {
    Reward { value: RewardValue::Rewarded(value), reason: reason.into(), judged: Vec::new() }
}

/// Returns a reward, or the failure in its place, with the judge's answers behind it.
pub(crate) fn judged(
    value: Result<f64, JudgeFailure>,
    reason: String,
    judged: Vec<JudgedCriterion>,
) -> Reward {
    let unrewarded = |failure| RewardValue::Unrewarded(UnrewardedReason::Judge(failure));
    Reward { value: value.map_or_else(unrewarded, RewardValue::Rewarded), reason, judged }
}

/// Rewards that cost nothing, with measures.
pub(crate) fn free<const N: usize>(
    rewards: Vec<Reward>,
    measures: [(&'static str, f64); N],
) -> GroupReward {
    let measures = measures.into_iter().map(|(name, value)| (name.to_owned(), value));
    GroupReward { rewards, rubric: None, measures: measures.collect(), usage: Usage::default() }
}

/// Returns the mean of numbers; none if there are none.
pub(crate) fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// Adds a measure that may not exist.
pub(crate) fn measure(measures: &mut BTreeMap<String, f64>, name: &str, value: Option<f64>) {
    measures.extend(value.map(|value| (name.to_owned(), value)));
}

/// Returns the failure that counts among several: one that asking again later won't mend, if there is one.
pub(crate) fn gravest(failures: impl IntoIterator<Item = JudgeFailure>) -> Option<JudgeFailure> {
    failures.into_iter().min_by_key(|failure| failure.is_transient())
}
