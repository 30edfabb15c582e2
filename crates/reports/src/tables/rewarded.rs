//! Rollouts of a condition with reward and score, group by group, for the tables about rewards.

use std::collections::BTreeMap;

use preceptor_core::RewardValue;

use crate::condition::Condition;
use crate::evidence::Evidence;
use crate::table::Table;

/// The reason for a group without any rewards.
const FAILED: &str = "failed";

/// A group of one seed.
pub(super) struct RewardedGroup {
    /// The index of its prompt.
    pub(super) prompt: usize,
    /// The reward and the score of each rollout, where they exist.
    pub(super) rollouts: Vec<(Option<f64>, Option<f64>)>,
    /// The reasons why rollouts have no reward.
    pub(super) reasons: Vec<&'static str>,
}

impl RewardedGroup {
    /// Returns the rollouts that have both.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.rollouts.iter().filter_map(|(reward, score)| Some(((*reward)?, (*score)?)))
    }

    pub(super) fn rewards(&self) -> impl Iterator<Item = f64> {
        self.rollouts.iter().filter_map(|(reward, _)| *reward)
    }
}

/// Returns every group of a condition; none of a condition that derives no rewards.
pub(super) fn rewarded_groups(
    evidence: &Evidence,
    condition: &Condition<'_>,
) -> Vec<RewardedGroup> {
    let mut groups = Vec::new();
    for cell in condition.cells.iter().filter(|cell| cell.stages.rewards.is_some()) {
        for (number, prompt) in cell.prompts.iter().enumerate() {
            let facts = evidence.reward(cell, prompt.as_str());
            let mut group =
                RewardedGroup { prompt: number, rollouts: Vec::new(), reasons: Vec::new() };
            for index in 0..cell.group_size {
                let reward = facts.and_then(|facts| facts.rewards.get(index as usize));
                let value = match reward {
                    Some(RewardValue::Rewarded(value)) => Some(*value),
                    Some(RewardValue::Unrewarded(reason)) => {
                        group.reasons.push(reason.name());
                        None
                    }
                    None => {
                        group.reasons.push(FAILED);
                        None
                    }
                };
                group.rollouts.push((value, evidence.rollout_score(cell, prompt, index)));
            }
            groups.push(group);
        }
    }
    groups
}

/// Returns the share of groups whose rewards are all equal, among groups with a reward.
pub(super) fn flat_share(groups: &[&RewardedGroup]) -> Option<f64> {
    let with_reward = groups.iter().filter(|group| group.rewards().next().is_some());
    let is_flat = |group: &&&RewardedGroup| {
        let first = group.rewards().next();
        group.rewards().all(|reward| Some(reward) == first)
    };
    let num_groups = with_reward.clone().count();
    (num_groups > 0).then(|| with_reward.filter(is_flat).count() as f64 / num_groups as f64)
}

/// Returns the share of rollouts without a reward.
pub(super) fn unrewarded_share(groups: &[&RewardedGroup]) -> Option<f64> {
    let num_rollouts: usize = groups.iter().map(|group| group.rollouts.len()).sum();
    let num_unrewarded: usize = groups.iter().map(|group| group.reasons.len()).sum();
    (num_rollouts > 0).then(|| num_unrewarded as f64 / num_rollouts as f64)
}

/// Returns the reasons with their counts, for example `no-reference 8, unreadable 1`.
pub(super) fn reasons_text(groups: &[&RewardedGroup]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in groups.iter().flat_map(|group| &group.reasons) {
        *counts.entry(reason).or_default() += 1;
    }
    let counts = counts.iter().map(|(reason, count)| format!("{reason} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Adds the column `reward`, unless an axis of that name has made it, and what sees labels.
pub(super) fn identify_reward(table: &mut Table, rows: &[&Condition<'_>]) {
    if table.header().all(|name| name != "reward") {
        table.text("reward", rows.iter().map(|row| row.reward()).collect());
    }
    table.text("sees_labels", rows.iter().map(|row| row.sees_labels()).collect());
}
