//! `costs`: the tokens behind the records of each condition, by stage; the cost of the condition
//! alone.
//!
//! - `rollouts`: sampling, as recorded by the runs; for a larger set, the share of what is read.
//! - `aggregates`: tokens that aggregators used beyond the rollouts.
//! - `rewards`: tokens that rewards used, for rubrics and judging together.
//! - `grades`, `rollout-grades`: tokens of the benchmark's judge, if it has one.
//!
//! A stage that several conditions share is one row. Rows must not be added up: a call that two
//! stages share counts in both. `spending` counts each call once.
//! `tokens_per_prompt` is over the prompts of all seeds, prompt and generated tokens together.

use preceptor_core::record::CellRecord;
use preceptor_core::{PromptId, Usage};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::table::Table;

const CAPTION: &str = "Tokens that the records of each condition rest on, by stage: what it would cost \
                       alone. Conditions share calls, so that rows can't be added up; `spending` has what \
                       was paid";

/// Cost of one stage of a condition's cells.
struct Row<'a> {
    condition: Condition<'a>,
    stage: &'static str,
    usage: Usage,
}

pub(crate) fn costs(evidence: &Evidence) -> Table {
    let mut rows = Vec::new();
    for condition in evidence.distinct(|stages| Some(vec![&stages.rollouts])) {
        let mut usage = Usage::default();
        for cell in &condition.cells {
            let cost = evidence.rollout_cost(&cell.stages.rollouts);
            usage += Usage {
                num_prompt_tokens: cost.num_prompt_tokens,
                num_generated_tokens: cost.num_generated_tokens,
            };
        }
        rows.push(Row { condition, stage: "rollouts", usage });
    }
    let mut add = |stage, conditions: Vec<_>, of: &dyn Fn(&CellRecord, &PromptId) -> Usage| {
        for condition in conditions {
            let usage = spent(&condition, of);
            if usage != Usage::default() {
                rows.push(Row { condition, stage, usage });
            }
        }
    };
    add("rollout-grades", evidence.distinct(|s| Some(vec![&s.rollout_grades])), &|cell, prompt| {
        let grades = (0..cell.group_size).filter_map(|i| evidence.rollout_grade(cell, prompt, i));
        total(grades.map(|facts| facts.usage))
    });
    add("aggregates", evidence.distinct(|s| Some(vec![&s.aggregates])), &|cell, prompt| {
        total(evidence.aggregate(cell, prompt.as_str()).iter().map(|facts| facts.usage))
    });
    add("grades", evidence.scored(), &|cell, prompt| {
        total(evidence.grade(cell, prompt.as_str()).iter().map(|facts| facts.usage))
    });
    add("rewards", evidence.distinct(|s| Some(vec![s.rewards.as_ref()?])), &|cell, prompt| {
        total(evidence.reward(cell, prompt.as_str()).iter().map(|facts| facts.usage))
    });

    let mut table = Table::new("costs", CAPTION);
    identify(&mut table, evidence, &rows.iter().map(|row| &row.condition).collect::<Vec<_>>());
    table.text("stage", rows.iter().map(|row| row.stage.to_owned()).collect());
    table.count("prompt_tokens", rows.iter().map(|row| row.usage.num_prompt_tokens).collect());
    let generated = rows.iter().map(|row| row.usage.num_generated_tokens);
    table.count("generated_tokens", generated.collect());
    let a_prompt = |row: &Row<'_>| {
        let prompts: usize = row.condition.cells.iter().map(|cell| cell.prompts.len()).sum();
        let tokens = row.usage.num_prompt_tokens + row.usage.num_generated_tokens;
        (prompts > 0).then(|| tokens as f64 / prompts as f64)
    };
    table.number("tokens_per_prompt", rows.iter().map(a_prompt).collect());
    table
}

fn spent(condition: &Condition<'_>, of: &dyn Fn(&CellRecord, &PromptId) -> Usage) -> Usage {
    let cells = condition.cells.iter();
    total(cells.flat_map(|cell| cell.prompts.iter().map(move |prompt| of(cell, prompt))))
}

fn total(usages: impl Iterator<Item = Usage>) -> Usage {
    usages.fold(Usage::default(), |mut total, usage| {
        total += usage;
        total
    })
}
