//! `worst_at_k`: the reliability of rollouts scored by rubrics, as HealthBench reports it: the
//! expected lowest score of `k` rollouts of a prompt, averaged over prompts and clipped to [0, 1]. The rollouts of
//! all seeds count.

use preceptor_stats::mean_worst_at_k;

use crate::condition::{Condition, identify_groups};
use crate::evidence::Evidence;
use crate::table::Table;

pub(crate) fn worst_at_k(evidence: &Evidence) -> Table {
    let mut conditions =
        evidence.distinct(|stages| Some(vec![&stages.rollouts, &stages.rollout_grades]));
    conditions.retain(|condition| evidence.has_rubric(condition.cell));
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut sizes, mut worst, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    for condition in &conditions {
        let cell = condition.cell;
        let scores = |prompt| {
            let of_cell = |cell| {
                (0..condition.cell.group_size)
                    .filter_map(move |index| evidence.rollout_score(cell, prompt, index))
            };
            condition.cells.iter().flat_map(|cell| of_cell(*cell)).collect::<Vec<f64>>()
        };
        let scores: Vec<Vec<f64>> = cell.prompts.iter().map(scores).collect();
        for k in 1..=cell.group_size as usize {
            rows.push(condition);
            sizes.push(k as u64);
            worst.push(mean_worst_at_k(&scores, k));
            prompts.push(scores.iter().filter(|of_prompt| of_prompt.len() >= k).count() as u64);
        }
    }
    let caption = "Reliability of rollouts: expected lowest score of k rollouts of a prompt";
    let mut table = Table::new("worst_at_k", caption);
    identify_groups(&mut table, evidence, &rows);
    table.count("k", sizes);
    table.number("worst", worst);
    table.count("prompts", prompts);
    table
}
