//! `audit` and `audit_by_level`: accuracy of pseudo-references, and of the rewards derived from
//! them, against labels, for benchmarks of final answers. The second table has a row for each value
//! of the benchmark's tag `level`.
//!
//! Over rollouts that have a reward r and a score, right where the score is 1:
//!
//! - `label_accuracy`: the share of pseudo-references that are right; a missing one counts as wrong.
//! - `reward_accuracy`: the share of rollouts for which (r > 0.5) = right; prompts have equal weight.
//! - `auc`: the chance that a right rollout has the higher reward than a wrong one, ties counting half,
//!   over all rollouts; `group_auc`: the same within each group that has both kinds (`mixed_groups` of
//!   them), averaged over prompts. Only differences within a group reach GRPO.
//! - `true_positive_rate`: the share of right rollouts with r > 0.5. `youden` is it less the false positive
//!   rate, which ranks rewards before any training; its interval is a bootstrap over prompts.
//! - `false_positive_rate`: the share of wrong rollouts with r > 0.5; `false_negative_rate`: the share
//!   of right rollouts with r <= 0.5. Both over all rollouts.
//! - `flat_groups`: the share of groups with rewards that are all equal: they teach nothing.
//! - `unrewarded`: the share of rollouts without a reward, with `unrewarded_reasons`; `failed` are those
//!   that lost their record to a failed call. `rollouts` have both reward and score.
//!
//! Intervals are over prompts: Wilson's of shares, of `group_auc`, which is a mean and no share, the t interval
//! cut to [0, 1]. There is none below a least number of prompts, and none of `group_auc` where every group has
//! the same one, as with a constant reward. `sees_labels` names the part that is an upper bound. Columns
//! without a value in any row are left out.

use std::collections::BTreeSet;

use preceptor_stats::{
    Caution, Confusion, Design, Estimate, area_under_curve, bounded_mean, clustered_proportion,
    youden,
};

use super::rewarded::{
    RewardedGroup, flat_share, identify_reward, reasons_text, rewarded_groups, unrewarded_share,
};
use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

/// The reward above which a rollout counts as right.
const THRESHOLD: f64 = 0.5;

/// Quality of the rewards in one row.
struct Audit {
    label_accuracy: Option<Estimate>,
    reward_accuracy: Option<Estimate>,
    auc: Option<f64>,
    group_auc: Option<Estimate>,
    num_mixed: u64,
    youden: Option<Estimate>,
    true_positive_rate: Option<f64>,
    false_positive_rate: Option<f64>,
    false_negative_rate: Option<f64>,
    flat_groups: Option<f64>,
    unrewarded: Option<f64>,
    reasons: String,
    num_rollouts: u64,
}

pub(crate) fn audit(evidence: &Evidence) -> Table {
    let conditions = audited(evidence);
    let rows: Vec<&Condition<'_>> = conditions.iter().collect();
    let audits: Vec<Audit> = conditions
        .iter()
        .map(|condition| {
            let groups = rewarded_groups(evidence, condition);
            summarize(&evidence.scores(condition), &groups.iter().collect::<Vec<_>>())
        })
        .collect();
    let caption = "Accuracy of pseudo-references and rewards against labels, for final answers";
    let mut table = Table::new("audit", caption);
    identify(&mut table, evidence, &rows);
    identify_reward(&mut table, &rows);
    add_columns(&mut table, &audits);
    table.drop_empty(&[]);
    table
}

pub(crate) fn audit_by_level(evidence: &Evidence) -> Table {
    let conditions = audited(evidence);
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut levels, mut audits) = (Vec::new(), Vec::new());
    for condition in &conditions {
        let cell = condition.cell;
        if cell.group_size != evidence.largest_group(&cell.benchmark) {
            continue;
        }
        let level = |number: usize| {
            evidence.prompt(cell, cell.prompts[number].as_str()).tags.get("level").cloned()
        };
        let of_prompt: Vec<_> = (0..cell.prompts.len()).map(level).collect();
        let groups = rewarded_groups(evidence, condition);
        let scores = evidence.scores(condition);
        for level in of_prompt.iter().flatten().collect::<BTreeSet<_>>() {
            let is_at = |number: usize| of_prompt[number].as_ref() == Some(level);
            let scores = scores.iter().enumerate().filter(|(number, _)| is_at(*number));
            let scores: Vec<_> = scores.map(|(_, scores)| scores.clone()).collect();
            let groups: Vec<_> = groups.iter().filter(|group| is_at(group.prompt)).collect();
            rows.push(condition);
            levels.push(level.clone());
            audits.push(summarize(&scores, &groups));
        }
    }
    let caption = "Accuracy of pseudo-references and rewards against labels, by level, at the largest group size";
    let mut table = Table::new("audit_by_level", caption);
    identify(&mut table, evidence, &rows);
    identify_reward(&mut table, &rows);
    table.text("level", levels);
    add_columns(&mut table, &audits);
    table.drop_empty(&[]);
    table
}

/// Returns a condition for each pair of pseudo-references and rewards whose answers are right or
/// wrong.
fn audited(evidence: &Evidence) -> Vec<Condition<'_>> {
    let mut conditions = evidence
        .distinct(|stages| Some([&stages.grades].into_iter().chain(&stages.rewards).collect()));
    conditions.retain(|condition| !evidence.has_rubric(condition.cell));
    conditions
}

fn summarize(scores: &[Vec<f64>], groups: &[&RewardedGroup]) -> Audit {
    let num_prompts = groups.iter().map(|group| group.prompt + 1).max().unwrap_or(0);
    let mut agreements: Vec<Vec<f64>> = vec![Vec::new(); num_prompts];
    let mut group_aucs: Vec<Vec<f64>> = vec![Vec::new(); num_prompts];
    let mut all: Vec<(f64, bool)> = Vec::new();
    let mut of_prompts: Vec<Vec<(bool, bool)>> = vec![Vec::new(); num_prompts];
    for group in groups {
        let cases: Vec<(f64, bool)> =
            group.pairs().map(|(reward, score)| (reward, score == 1.0)).collect();
        let agrees = |(reward, right): &(f64, bool)| (*reward > THRESHOLD) == *right;
        let agreed = cases.iter().map(|case| f64::from(u8::from(agrees(case))));
        agreements[group.prompt].extend(agreed);
        group_aucs[group.prompt].extend(area_under_curve(&cases));
        let called = cases.iter().map(|(reward, right)| (*reward > THRESHOLD, *right));
        of_prompts[group.prompt].extend(called);
        all.extend(cases);
    }
    let counts = Confusion::of(all.iter().map(|(reward, right)| (*reward > THRESHOLD, *right)));
    let of_prompts: Vec<Confusion> = of_prompts.into_iter().map(Confusion::of).collect();
    Audit {
        label_accuracy: clustered_proportion(scores).map(Estimate::over_prompts),
        reward_accuracy: clustered_proportion(&agreements).map(Estimate::over_prompts),
        auc: area_under_curve(&all),
        group_auc: bounded_mean(&group_aucs, (0.0, 1.0)),
        num_mixed: group_aucs.iter().map(|group| group.len() as u64).sum(),
        youden: youden(&of_prompts),
        true_positive_rate: counts.true_positive_rate(),
        false_positive_rate: counts.false_positive_rate(),
        false_negative_rate: counts.false_negative_rate(),
        flat_groups: flat_share(groups),
        unrewarded: unrewarded_share(groups),
        reasons: reasons_text(groups),
        num_rollouts: all.len() as u64,
    }
}

fn add_columns(table: &mut Table, audits: &[Audit]) {
    let estimates = |of: fn(&Audit) -> Option<Estimate>| audits.iter().map(of).collect::<Vec<_>>();
    let numbers = |of: fn(&Audit) -> Option<f64>| audits.iter().map(of).collect::<Vec<_>>();
    let names = ["label_accuracy", "label_accuracy_low", "label_accuracy_high"];
    table.estimates(names, &estimates(|audit| audit.label_accuracy));
    let names = ["reward_accuracy", "reward_accuracy_low", "reward_accuracy_high"];
    table.estimates(names, &estimates(|audit| audit.reward_accuracy));
    table.number("auc", numbers(|audit| audit.auc));
    let names = ["group_auc", "group_auc_low", "group_auc_high"];
    table.estimates(names, &estimates(|audit| audit.group_auc));
    let has_rewards = audits.iter().any(|audit| audit.num_rollouts > 0);
    if has_rewards {
        table.count("mixed_groups", audits.iter().map(|audit| audit.num_mixed).collect());
    }
    let names = ["youden", "youden_low", "youden_high"];
    table.estimates(names, &estimates(|audit| audit.youden));
    table.number("true_positive_rate", numbers(|audit| audit.true_positive_rate));
    table.number("false_positive_rate", numbers(|audit| audit.false_positive_rate));
    table.number("false_negative_rate", numbers(|audit| audit.false_negative_rate));
    table.number("flat_groups", numbers(|audit| audit.flat_groups));
    table.number("unrewarded", numbers(|audit| audit.unrewarded));
    table.text("unrewarded_reasons", audits.iter().map(|audit| audit.reasons.clone()).collect());
    if has_rewards {
        table.count("rollouts", audits.iter().map(|audit| audit.num_rollouts).collect());
    }
    let note = |audit: &Audit| {
        let num_prompts = audit.label_accuracy.map_or(0, |accuracy| accuracy.num_clusters);
        Caution::of(Design::Samples, 1, num_prompts).map_or("", Caution::name)
    };
    table.notes(audits.iter().map(note).collect());
}
