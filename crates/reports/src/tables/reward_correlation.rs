//! `reward_correlation`: rewards against scores for benchmarks scored by rubrics with points, where
//! answers are not simply right or wrong.
//!
//! - `correlation`: Pearson's, over all rollouts that have a reward and a score (`rollouts` of them).
//! - `group_correlation`: Pearson's within each group in which both differ (`mixed_groups` of them),
//!   averaged over prompts, with its t interval, cut to [-1, 1]; none below a least number of prompts. Only
//!   differences within a group reach GRPO.
//! - `flat_groups`, `unrewarded`, `unrewarded_reasons` and `sees_labels` are as in `audit`.

use preceptor_stats::{Estimate, bounded_mean, correlation};

use super::rewarded::{
    RewardedGroup, flat_share, identify_reward, reasons_text, rewarded_groups, unrewarded_share,
};
use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn reward_correlation(evidence: &Evidence) -> Table {
    let mut conditions = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    conditions.retain(|condition| evidence.has_rubric(condition.cell));
    let rows: Vec<&Condition<'_>> = conditions.iter().collect();
    let groups: Vec<_> = rows.iter().map(|row| rewarded_groups(evidence, row)).collect();
    let groups: Vec<Vec<&RewardedGroup>> =
        groups.iter().map(|groups| groups.iter().collect()).collect();
    let points = |groups: &Vec<&RewardedGroup>| {
        groups.iter().flat_map(|group| group.pairs()).collect::<Vec<_>>()
    };
    let within: Vec<Vec<Vec<f64>>> = groups.iter().map(|groups| of_prompts(groups)).collect();

    let caption = "Correlation of rewards with scores by rubrics with points";
    let mut table = Table::new("reward_correlation", caption);
    identify(&mut table, evidence, &rows);
    identify_reward(&mut table, &rows);
    let pooled = groups.iter().map(|groups| correlation(&points(groups)));
    table.number("correlation", pooled.collect());
    let names = ["group_correlation", "group_correlation_low", "group_correlation_high"];
    let estimates: Vec<Option<Estimate>> =
        within.iter().map(|of| bounded_mean(of, (-1.0, 1.0))).collect();
    table.estimates(names, &estimates);
    let mixed = within.iter().map(|of| of.iter().map(|prompt| prompt.len() as u64).sum());
    table.count("mixed_groups", mixed.collect());
    table.number("flat_groups", groups.iter().map(|groups| flat_share(groups)).collect());
    table.number("unrewarded", groups.iter().map(|groups| unrewarded_share(groups)).collect());
    table.text("unrewarded_reasons", groups.iter().map(|groups| reasons_text(groups)).collect());
    table.count("rollouts", groups.iter().map(|groups| points(groups).len() as u64).collect());
    table
}

/// Returns the correlations within groups: one cluster per prompt, one value per group that has
/// one.
fn of_prompts(groups: &[&RewardedGroup]) -> Vec<Vec<f64>> {
    let num_prompts = groups.iter().map(|group| group.prompt + 1).max().unwrap_or(0);
    let mut clusters = vec![Vec::new(); num_prompts];
    for group in groups {
        clusters[group.prompt].extend(correlation(&group.pairs().collect::<Vec<_>>()));
    }
    clusters
}
