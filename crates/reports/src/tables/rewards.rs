//! `rewards`: distribution and cost of rewards, one row for each set of rewards.
//!
//! - `mean` and `std` are over all rollouts with a reward; `within_group_std` is the mean over groups
//!   of the standard deviation of their rewards, which group-normalised advantages depend on. Standard
//!   deviations are over n.
//! - `flat_groups`, `unrewarded`, `unrewarded_reasons` and `sees_labels` are as in `audit`.
//! - `prompt_tokens` and `generated_tokens` are of all calls, `judge_` tokens of the judge's
//!   answers; the rest wrote rubrics.

use preceptor_core::Usage;
use preceptor_stats::mean;

use super::rewarded::{
    RewardedGroup, flat_share, identify_reward, reasons_text, rewarded_groups, unrewarded_share,
};
use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn rewards(evidence: &Evidence) -> Table {
    let conditions = evidence.distinct(|stages| Some(vec![stages.rewards.as_ref()?]));
    let rows: Vec<&Condition<'_>> = conditions.iter().collect();
    let groups: Vec<_> = rows.iter().map(|row| rewarded_groups(evidence, row)).collect();
    let groups: Vec<Vec<&RewardedGroup>> =
        groups.iter().map(|groups| groups.iter().collect()).collect();
    let numbers = |of: &dyn Fn(&[&RewardedGroup]) -> Option<f64>| {
        groups.iter().map(|groups| of(groups)).collect::<Vec<_>>()
    };
    let all = |groups: &[&RewardedGroup]| {
        groups.iter().flat_map(|group| group.rewards()).collect::<Vec<_>>()
    };
    let mut table = Table::new("rewards", "How rewards are spread and what they cost");
    identify(&mut table, evidence, &rows);
    identify_reward(&mut table, &rows);
    table.number("mean", numbers(&|groups| mean(&all(groups))));
    table.number("std", numbers(&|groups| std(&all(groups))));
    let within = |groups: &[&RewardedGroup]| {
        let stds = groups.iter().filter_map(|group| std(&group.rewards().collect::<Vec<_>>()));
        mean(&stds.collect::<Vec<_>>())
    };
    table.number("within_group_std", numbers(&within));
    table.number("flat_groups", numbers(&flat_share));
    table.number("unrewarded", numbers(&unrewarded_share));
    table.text("unrewarded_reasons", groups.iter().map(|groups| reasons_text(groups)).collect());
    table.count("groups", groups.iter().map(|groups| groups.len() as u64).collect());
    let usages: Vec<(Usage, Usage)> = rows.iter().map(|row| usages(evidence, row)).collect();
    let counts = |of: fn(&(Usage, Usage)) -> u64| usages.iter().map(of).collect::<Vec<_>>();
    table.count("prompt_tokens", counts(|(all, _)| all.num_prompt_tokens));
    table.count("generated_tokens", counts(|(all, _)| all.num_generated_tokens));
    table.count("judge_prompt_tokens", counts(|(_, judge)| judge.num_prompt_tokens));
    table.count("judge_generated_tokens", counts(|(_, judge)| judge.num_generated_tokens));
    table
}

/// Returns the tokens used for a condition's rewards, and the judge's part of them.
fn usages(evidence: &Evidence, condition: &Condition<'_>) -> (Usage, Usage) {
    let (mut all, mut judge) = (Usage::default(), Usage::default());
    for cell in &condition.cells {
        for prompt in &cell.prompts {
            let Some(facts) = evidence.reward(cell, prompt.as_str()) else { continue };
            all += facts.usage;
            judge += facts.judge_usage;
        }
    }
    (all, judge)
}

fn std(values: &[f64]) -> Option<f64> {
    let center = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    Some((squares / values.len() as f64).sqrt())
}
