//! Questions of a judge about each rollout of a group, and the rewards that follow.

use preceptor_core::{Criterion, Group, GroupReward, Judged, Reward, Usage, VerdictRequest};

use crate::outcome::free;

/// Creates the same question about every rollout of `group`.
pub(crate) fn about_each<'a>(
    group: &'a Group,
    reference: Option<&'a str>,
    criteria: &'a [Criterion],
) -> impl Iterator<Item = VerdictRequest<'a>> {
    group.rollouts.iter().map(move |rollout| VerdictRequest {
        prompt: Some(&group.prompt),
        response: &rollout.text,
        reference,
        criteria,
    })
}

/// Returns the rewards of a group from one answer per rollout, with what the answers cost and `failed-verdicts`,
/// how many are missing.
pub(crate) fn of_answers<T>(
    answers: impl Iterator<Item = Judged<T>>,
    reward: impl Fn(Judged<T>) -> Reward,
) -> GroupReward {
    let mut usage = Usage::default();
    let with_usage = answers.inspect(|answer| usage += answer.usage);
    let rewards: Vec<Reward> = with_usage.map(reward).collect();
    let num_failed = rewards.iter().filter(|reward| reward.value.value().is_none()).count();
    GroupReward { usage, ..free(rewards, [("failed-verdicts", num_failed as f64)]) }
}
