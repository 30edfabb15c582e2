//! `physician-rubric`: the benchmark's own rubric as a reward, the upper bound with human labels
//! (paper, table of rewards).
//!
//! ```text
//! R(o) = sum of points of met items / sum of positive points
//! ```
//!
//! The judge of `[judge]` answers each item; it is not the benchmark's judge, and does not see points.
//! A rollout with a verdict that is missing has no reward.

use std::collections::BTreeMap;

use preceptor_core::{
    Calls, GroupReward, GroupShape, Judge, Judged, JudgedCriterion, Needs, PortError, PromptId,
    Reward, RewardDeriver, RewardRequest, RewardValue, Settings, UnrewardedReason, Usage, Verdict,
    VerdictRequest,
};
use preceptor_stats::rubric_score;
use serde::{Deserialize, Serialize};

use crate::{Label, Task, TaskSet};

/// Settings of [`PhysicianRubric`]: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {}

impl Settings for Config {
    const NAME: &'static str = "physician-rubric";
    const SUMMARY: &'static str = "points of the physicians' rubric (sees labels): the upper bound";
    const NEEDS: Needs = Needs::LABELS.union(Needs::JUDGE);

    fn calls(&self, group: GroupShape) -> Calls {
        Calls::of_judge(group.num_label_criteria, group)
    }
}

/// Rewards by the benchmark's rubric.
pub struct PhysicianRubric<'a> {
    labels: BTreeMap<PromptId, Label>,
    judge: &'a dyn Judge,
}

impl<'a> PhysicianRubric<'a> {
    /// Returns the upper bound for `tasks`, whose items `judge` answers.
    pub fn new(_config: &Config, tasks: &TaskSet, judge: &'a dyn Judge) -> Self {
        let label = |task: &Task| (task.prompt.id.clone(), task.label.clone());
        Self { labels: tasks.tasks.iter().map(label).collect(), judge }
    }
}

impl RewardDeriver for PhysicianRubric<'_> {
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError> {
        let rubric_of = |request: &RewardRequest<'_>| {
            let label = self.labels.get(&request.group.prompt.id);
            label.and_then(Label::rubric).map(|label| &label.rubric.criteria)
        };
        let mut questions = Vec::new();
        for request in requests {
            let Some(criteria) = rubric_of(request) else { continue };
            let group = request.group;
            questions.extend(group.rollouts.iter().map(|rollout| VerdictRequest {
                prompt: Some(&group.prompt),
                response: &rollout.text,
                reference: None,
                criteria,
            }));
        }
        let mut verdicts = self.judge.verdicts(&questions)?.into_iter();
        let derive_one = |request: &RewardRequest<'_>| {
            let num_rollouts = request.group.rollouts.len();
            let Some(criteria) = rubric_of(request) else {
                return GroupReward::unrewarded(num_rollouts, UnrewardedReason::NoLabel);
            };
            let of_rollouts = verdicts.by_ref().take(num_rollouts);
            let rewards = of_rollouts
                .map(|judged| {
                    let criteria = criteria.iter().cloned();
                    reward(criteria.zip(judged).collect())
                })
                .collect();
            let (measures, usage) = (BTreeMap::new(), Usage::default());
            GroupReward { rewards, rubric: None, measures, usage }
        };
        Ok(requests.iter().map(derive_one).collect())
    }
}

fn reward(judged: Vec<(preceptor_core::Criterion, Judged<Verdict>)>) -> Reward {
    let items: Vec<_> =
        judged.iter().map(|(criterion, j)| (criterion.points, j.answer.met())).collect();
    let failure = judged.iter().find_map(|(_, judged)| match judged.answer {
        Verdict::Failed(failure) => Some(failure),
        Verdict::Met | Verdict::NotMet => None,
    });
    let num_met = items.iter().filter(|(_, met)| *met == Some(true)).count();
    let value = match (rubric_score(&items), failure) {
        (Some(score), _) => RewardValue::Rewarded(score),
        (None, Some(failure)) => RewardValue::Unrewarded(UnrewardedReason::Judge(failure)),
        (None, None) => RewardValue::Unrewarded(UnrewardedReason::NoLabel),
    };
    let reason = format!("{num_met} of {} items met", items.len());
    let judged = judged
        .into_iter()
        .map(|(criterion, judged)| JudgedCriterion::Verdict { criterion, judged })
        .collect();
    Reward { value, reason, judged }
}
