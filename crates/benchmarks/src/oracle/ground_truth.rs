//! `ground-truth`: 1 if the rollout's final answer is the label's, else 0. The upper bound of any
//! reward on a benchmark with final answers (paper, table of rewards).

use std::collections::BTreeMap;

use preceptor_answers::GraderProfile;
use preceptor_core::{
    GroupReward, Needs, PortError, PromptId, Reward, RewardDeriver, RewardRequest, RewardValue,
    Settings, UnrewardedReason, Usage,
};
use serde::{Deserialize, Serialize};

use crate::{Label, Task, TaskSet, grade};

/// Settings of [`GroundTruth`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "ground-truth";
    const SUMMARY: &'static str =
        "1 if the final answer is the label's (sees labels): the upper bound";
    const NEEDS: Needs = Needs::LABELS;
}

/// Rewards right answers.
#[derive(Clone, Debug)]
pub struct GroundTruth {
    labels: BTreeMap<PromptId, Label>,
    profile: GraderProfile,
}

impl GroundTruth {
    /// Returns the upper bound for `tasks`, whose answers `profile` compares.
    pub fn new(_config: &Config, tasks: &TaskSet, profile: GraderProfile) -> Self {
        let label = |task: &Task| (task.prompt.id.clone(), task.label.clone());
        Self { labels: tasks.tasks.iter().map(label).collect(), profile }
    }

    fn derive_one(&self, request: &RewardRequest<'_>) -> GroupReward {
        let rollouts = &request.group.rollouts;
        let label = self.labels.get(&request.group.prompt.id);
        let Some(label) = label.filter(|label| label.answer().is_some()) else {
            return GroupReward::unrewarded(rollouts.len(), UnrewardedReason::NoLabel);
        };
        let rewards = rollouts.iter().map(|rollout| {
            let graded = grade(self.profile, label, &rollout.text);
            let value = graded.score.value().unwrap_or(0.0);
            let (value, reason) = (RewardValue::Rewarded(value), graded.reason);
            Reward { value, reason, judged: Vec::new() }
        });
        let rewards = rewards.collect();
        GroupReward { rewards, rubric: None, measures: BTreeMap::new(), usage: Usage::default() }
    }
}

impl RewardDeriver for GroundTruth {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        Ok(requests.iter().map(|request| self.derive_one(request)).collect())
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::Seed;
    use preceptor_testkit::boxed_group;

    use super::*;
    use crate::{Benchmark, arithmetic};

    #[test]
    fn right_answers_are_worth_one_whatever_their_notation() {
        let tasks = arithmetic::Config::default().load(None, Some(1)).unwrap();
        let label = tasks.tasks[0].label.answer().unwrap();
        let mut group = boxed_group(&[label, "-1", &format!("{label}.0"), ""]);
        group.prompt = tasks.tasks[0].prompt.clone();
        let truth = GroundTruth::new(&Config {}, &tasks, GraderProfile::Verify);
        let request = RewardRequest { group: &group, reference: None, seed: Seed::root(0) };
        let rewards = truth.derive(&[request]).unwrap().remove(0).rewards;
        let values: Vec<_> = rewards.iter().map(|reward| reward.value.value()).collect();
        assert_eq!(values, [Some(1.0), Some(0.0), Some(1.0), Some(0.0)]);
    }
}
