//! `rollouts`: what was drawn, one row for each set of rollouts: how good single rollouts are, what
//! the group could give at best, how they ended and what they cost.

use preceptor_core::record::{CellRecord, rollout_key};
use preceptor_stats::pass_at_k;

use crate::evidence::Evidence;
use crate::table::Table;

#[derive(Default)]
struct Counts {
    num_rollouts: u64,
    num_correct: u64,
    num_unanswered: u64,
    num_truncated: u64,
    num_tokens: u64,
    mean_logprob_sum: f64,
    num_classes: u64,
}

pub(crate) fn rollouts(evidence: &Evidence) -> Table {
    let cells = evidence.rollout_cells();
    let counts: Vec<_> = cells.iter().map(|cell| count(evidence, cell)).collect();
    let share = |part: fn(&Counts) -> u64| {
        let share =
            |c: &Counts| (c.num_rollouts > 0).then(|| part(c) as f64 / c.num_rollouts as f64);
        counts.iter().map(share).collect::<Vec<_>>()
    };
    let mut table = Table::new("rollouts", "What was drawn, by benchmark, model and seed");
    table.text("benchmark", cells.iter().map(|cell| cell.benchmark.clone()).collect());
    table.text("model", cells.iter().map(|cell| cell.model.clone()).collect());
    table.count("seed", cells.iter().map(|cell| cell.seed).collect());
    table.count("prompts", cells.iter().map(|cell| cell.prompts.len() as u64).collect());
    table.count("group_size", cells.iter().map(|cell| u64::from(cell.group_size)).collect());
    table.number("pass_at_1", share(|c| c.num_correct));
    let pass_at_g = |cell: &&CellRecord| Some(mean_pass_at(evidence, cell, cell.group_size));
    table.number("pass_at_group", cells.iter().map(pass_at_g).collect());
    table.number("no_answer", share(|c| c.num_unanswered));
    table.number("truncated", share(|c| c.num_truncated));
    table.number("mean_tokens", share(|c| c.num_tokens));
    let logprob =
        |c: &Counts| (c.num_rollouts > 0).then(|| c.mean_logprob_sum / c.num_rollouts as f64);
    table.number("mean_token_logprob", counts.iter().map(logprob).collect());
    let classes = |(c, cell): (&Counts, &&CellRecord)| {
        (!cell.prompts.is_empty()).then(|| c.num_classes as f64 / cell.prompts.len() as f64)
    };
    table.number("distinct_answers", counts.iter().zip(&cells).map(classes).collect());
    let costs: Vec<_> = cells.iter().map(|cell| evidence.cost(cell)).collect();
    table.count("prompt_tokens", costs.iter().map(|cost| cost.num_prompt_tokens).collect());
    table.count("generated_tokens", costs.iter().map(|cost| cost.num_generated_tokens).collect());
    table.number("wall_secs", costs.iter().map(|cost| Some(cost.wall_secs)).collect());
    table
}

fn count(evidence: &Evidence, cell: &CellRecord) -> Counts {
    let mut counts = Counts::default();
    for prompt in &cell.prompts {
        let classes = &evidence.classes(cell, prompt.as_str()).classes;
        let mut distinct: Vec<u32> = classes.iter().flatten().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        counts.num_classes += distinct.len() as u64;
        for index in 0..cell.group_size {
            let key = rollout_key(prompt, index);
            let rollout = &evidence.rollout(cell, &key).rollout;
            let grade = evidence.rollout_grade(cell, &key);
            counts.num_rollouts += 1;
            counts.num_correct += u64::from(grade.score.value() == Some(1.0));
            counts.num_unanswered += u64::from(grade.answer.is_none());
            counts.num_truncated += u64::from(rollout.finish.is_truncated());
            counts.num_tokens += rollout.num_tokens();
            if !rollout.logprobs.is_empty() {
                let sum: f64 = rollout.logprobs.iter().map(|&logprob| f64::from(logprob)).sum();
                counts.mean_logprob_sum += sum / rollout.logprobs.len() as f64;
            }
        }
    }
    counts
}

fn mean_pass_at(evidence: &Evidence, cell: &CellRecord, k: u32) -> f64 {
    let of_prompt = |prompt: &preceptor_core::PromptId| {
        let is_correct = |index: &u32| {
            let grade = evidence.rollout_grade(cell, &rollout_key(prompt, *index));
            grade.score.value() == Some(1.0)
        };
        let num_correct = (0..cell.group_size).filter(is_correct).count() as u32;
        pass_at_k(cell.group_size, num_correct, k)
    };
    let sum: f64 = cell.prompts.iter().map(of_prompt).sum();
    sum / cell.prompts.len().max(1) as f64
}
