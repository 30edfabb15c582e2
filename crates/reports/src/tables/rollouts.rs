//! `rollouts`: one row for each set of rollouts: the accuracy of single rollouts, the best that a
//! group could give, how they ended and their cost. For a set that holds more than the plan reads,
//! the cost is the share of what is read. A row names the axes that tell its set from others, and
//! what its policy was trained on.
//!
//! - `pass_at_1` is the share of rollouts that are right, `pass_at_group` the share of whole groups
//!   with one that is; both are missing where answers are scored by rubrics.
//! - `mean_score` is the mean of all scores, not clipped.
//! - `no_answer`, `truncated`, `refused`: shares of rollouts; `failed` the share whose
//!   call failed.
//! - `mean_token_logprob` averages each rollout over its tokens first; `distinct_answers` is the mean
//!   number of answer classes in a group.

use preceptor_core::FinishReason;
use preceptor_core::record::CellRecord;
use preceptor_stats::pass_at_k;

use crate::condition::identify_rollouts;
use crate::evidence::Evidence;
use crate::table::Table;

#[derive(Default)]
struct Counts {
    num_wanted: u64,
    num_rollouts: u64,
    num_scored: u64,
    num_graded: u64,
    score_sum: f64,
    num_correct: u64,
    num_unanswered: u64,
    num_truncated: u64,
    num_refused: u64,
    num_tokens: u64,
    num_with_logprobs: u64,
    mean_logprob_sum: f64,
    num_classed: u64,
    num_classes: u64,
    num_whole: u64,
    num_passed: f64,
}

fn ratio(part: f64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part / whole as f64)
}

pub(crate) fn rollouts(evidence: &Evidence) -> Table {
    let sets = evidence.rollout_sets();
    let cells: Vec<&CellRecord> = sets.iter().map(|set| set.cell).collect();
    let counts: Vec<_> =
        cells.iter().map(|cell| (count(evidence, cell), evidence.has_rubric(cell))).collect();
    let share = |part: fn(&Counts) -> u64, whole: fn(&Counts) -> u64| {
        counts.iter().map(|(c, _)| ratio(part(c) as f64, whole(c))).collect::<Vec<_>>()
    };
    let of_answers = |of: fn(&Counts) -> Option<f64>| {
        let of = |(c, is_rubric): &(Counts, bool)| if *is_rubric { None } else { of(c) };
        counts.iter().map(of).collect::<Vec<_>>()
    };
    let mut table = Table::new("rollouts", "Rollouts by benchmark, policy and seed");
    identify_rollouts(&mut table, evidence, &sets);
    table.count("seed", cells.iter().map(|cell| cell.seed).collect());
    table.count("prompts", cells.iter().map(|cell| cell.prompts.len() as u64).collect());
    table.count("group_size", cells.iter().map(|cell| u64::from(cell.group_size)).collect());
    table.number("pass_at_1", of_answers(|c| ratio(c.num_correct as f64, c.num_scored)));
    table.number("pass_at_group", of_answers(|c| ratio(c.num_passed, c.num_whole)));
    let mean_score = |(c, _): &(Counts, bool)| ratio(c.score_sum, c.num_scored);
    table.number("mean_score", counts.iter().map(mean_score).collect());
    table.number("no_answer", of_answers(|c| ratio(c.num_unanswered as f64, c.num_graded)));
    table.number("truncated", share(|c| c.num_truncated, |c| c.num_rollouts));
    table.number("refused", share(|c| c.num_refused, |c| c.num_rollouts));
    table.number("failed", share(|c| c.num_wanted - c.num_rollouts, |c| c.num_wanted));
    table.number("mean_tokens", share(|c| c.num_tokens, |c| c.num_rollouts));
    let logprob = |(c, _): &(Counts, bool)| ratio(c.mean_logprob_sum, c.num_with_logprobs);
    table.number("mean_token_logprob", counts.iter().map(logprob).collect());
    table.number("distinct_answers", of_answers(|c| ratio(c.num_classes as f64, c.num_classed)));
    let costs: Vec<_> =
        cells.iter().map(|cell| evidence.rollout_cost(&cell.stages.rollouts)).collect();
    table.count("prompt_tokens", costs.iter().map(|cost| cost.num_prompt_tokens).collect());
    table.count("generated_tokens", costs.iter().map(|cost| cost.num_generated_tokens).collect());
    table.number("wall_secs", costs.iter().map(|cost| Some(cost.wall_secs)).collect());
    if costs.iter().any(|cost| cost.cost_usd > 0.0) {
        table.number("cost_usd", costs.iter().map(|cost| Some(cost.cost_usd)).collect());
    }
    table
}

fn count(evidence: &Evidence, cell: &CellRecord) -> Counts {
    let mut counts = Counts::default();
    for prompt in &cell.prompts {
        if let Some(classes) = evidence.classes(cell, prompt.as_str()) {
            let mut distinct: Vec<u32> = classes.iter().flatten().copied().collect();
            distinct.sort_unstable();
            distinct.dedup();
            counts.num_classed += 1;
            counts.num_classes += distinct.len() as u64;
        }
        let scores: Vec<Option<f64>> =
            (0..cell.group_size).map(|i| evidence.rollout_score(cell, prompt, i)).collect();
        let num_correct = scores.iter().filter(|score| **score == Some(1.0)).count();
        counts.num_scored += scores.iter().flatten().count() as u64;
        counts.score_sum += scores.iter().flatten().sum::<f64>();
        counts.num_correct += num_correct as u64;
        if scores.iter().all(Option::is_some) {
            counts.num_whole += 1;
            counts.num_passed += pass_at_k(cell.group_size, num_correct as u32, cell.group_size);
        }
        for index in 0..cell.group_size {
            counts.num_wanted += 1;
            if let Some(grade) = evidence.rollout_grade(cell, prompt, index) {
                counts.num_graded += 1;
                counts.num_unanswered += u64::from(grade.answer.is_none());
            }
            let Some(rollout) = evidence.rollout(cell, prompt, index) else { continue };
            counts.num_rollouts += 1;
            counts.num_truncated += u64::from(rollout.finish.is_truncated());
            counts.num_refused += u64::from(rollout.finish == FinishReason::Refused);
            counts.num_tokens += rollout.num_tokens;
            if let Some(mean) = rollout.mean_logprob {
                counts.num_with_logprobs += 1;
                counts.mean_logprob_sum += mean;
            }
        }
    }
    counts
}
