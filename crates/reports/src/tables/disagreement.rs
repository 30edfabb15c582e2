//! `disagreement`: how often two aggregators give different answers to the same group, and which of
//! them is right then.
//!
//! Pairs are of aggregators that see no labels, except `single`; those that write come first, then
//! the plan's order. Answers are compared as in `answers.rs`: two right answers are the same; an
//! answer that occurs in the group has the class of that rollout; else texts are compared. A missing
//! answer and a missing pseudo-reference count as an answer of their own.
//!
//! - `differ`: the share of prompts with different answers, seeds averaged first, with its interval;
//!   `num_differ` of `compared` groups.
//! - `a_right`, `b_right`: the share of the `num_differ` groups where `a` and `b` is right. They are
//!   never both right, since two right answers are the same.
//! - `note` says why there is no interval.

use preceptor_stats::{Caution, Design, Estimate, clustered_proportion};

use crate::answers::{PromptAnswer, answer_of};
use crate::condition::{Condition, identify_groups};
use crate::evidence::Evidence;
use crate::table::Table;

#[derive(Default)]
struct Comparison {
    differ: Option<Estimate>,
    num_compared: u64,
    num_differ: u64,
    num_a_right: u64,
    num_b_right: u64,
}

pub(crate) fn disagreement(evidence: &Evidence) -> Table {
    let mut conditions = evidence.scored();
    conditions.retain(|condition| {
        let cell = condition.cell;
        !condition.is_baseline() && !cell.sees_labels && !evidence.has_rubric(cell)
    });
    conditions.sort_by_key(|condition| !evidence.writes(condition));
    let answers: Vec<_> = conditions.iter().map(|of| all_given(evidence, of)).collect();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for a in 0..conditions.len() {
        let others =
            (a + 1..conditions.len()).filter(|&b| conditions[a].shares_groups(&conditions[b]));
        pairs.extend(others.map(|b| (a, b)));
    }
    let compared: Vec<Comparison> =
        pairs.iter().map(|&(a, b)| compare(&answers[a], &answers[b])).collect();

    let caption = "How often two aggregators give different answers to the same group, and which \
                   of them is right then";
    let mut table = Table::new("disagreement", caption);
    let rows: Vec<&Condition<'_>> = pairs.iter().map(|&(a, _)| &conditions[a]).collect();
    identify_groups(&mut table, evidence, &rows);
    let name = |i: usize| conditions[i].estimate_name(evidence);
    table.text("a", pairs.iter().map(|&(a, _)| name(a)).collect());
    table.text("b", pairs.iter().map(|&(_, b)| name(b)).collect());
    let estimates: Vec<_> = compared.iter().map(|one| one.differ).collect();
    table.estimates(["differ", "low", "high"], &estimates);
    let counts = |of: fn(&Comparison) -> u64| compared.iter().map(of).collect::<Vec<_>>();
    table.count("num_differ", counts(|one| one.num_differ));
    table.count("compared", counts(|one| one.num_compared));
    let share = |of: fn(&Comparison) -> u64| {
        let share =
            |one: &Comparison| (one.num_differ > 0).then(|| of(one) as f64 / one.num_differ as f64);
        compared.iter().map(share).collect::<Vec<_>>()
    };
    table.number("a_right", share(|one| one.num_a_right));
    table.number("b_right", share(|one| one.num_b_right));
    let note = |one: &Comparison| {
        let num_prompts = one.differ.map_or(0, |differ| differ.num_clusters);
        Caution::of(Design::Samples, 1, num_prompts).map_or("", Caution::name)
    };
    table.notes(compared.iter().map(note).collect());
    table
}

/// Returns the answers of a condition: one list per prompt, one entry per seed.
fn all_given(evidence: &Evidence, condition: &Condition<'_>) -> Vec<Vec<Option<PromptAnswer>>> {
    let of_prompt =
        |prompt| condition.cells.iter().map(|cell| answer_of(evidence, cell, prompt)).collect();
    condition.cell.prompts.iter().map(of_prompt).collect()
}

fn compare(a: &[Vec<Option<PromptAnswer>>], b: &[Vec<Option<PromptAnswer>>]) -> Comparison {
    let mut result = Comparison::default();
    let mut clusters = Vec::new();
    for (a, b) in a.iter().zip(b) {
        let both = a.iter().zip(b).filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)));
        let mut cluster = Vec::new();
        for (a, b) in both {
            let differ = !a.same_as(b);
            cluster.push(f64::from(u8::from(differ)));
            result.num_compared += 1;
            if differ {
                result.num_differ += 1;
                result.num_a_right += u64::from(a.is_right == Some(true));
                result.num_b_right += u64::from(b.is_right == Some(true));
            }
        }
        clusters.push(cluster);
    }
    result.differ = clustered_proportion(&clusters).map(Estimate::over_prompts);
    result
}
