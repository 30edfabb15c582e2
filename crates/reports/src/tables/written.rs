//! `written`: the origin of pseudo-references that a model wrote, and how often they are right
//! where no rollout is. Aggregators that only choose have no row.
//!
//! Over the `written` pseudo-references of a condition:
//!
//! - `copied`: the share whose text is a rollout's, white space aside.
//! - `new_answer`: the share whose answer occurs in no rollout (see `answers.rs`), `new_right` the
//!   share of these that are right.
//! - `all_wrong`: groups whose rollouts are all scored and all wrong; `right_when_all_wrong`: how many
//!   of these have a right pseudo-reference: `share` of them, `all_wrong_of_questions` of all groups, which is
//!   the paper's number.
//!
//! Answers are `-` where texts are scored by rubrics.

use preceptor_core::PromptId;
use preceptor_core::record::CellRecord;

use crate::answers::answer_of;
use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::facts::AggregateFacts;
use crate::table::Table;

#[derive(Default)]
struct Counts {
    has_rubric: bool,
    num_written: u64,
    num_copied: u64,
    num_new: u64,
    num_new_right: u64,
    num_all_wrong: u64,
    num_rescued: u64,
    /// Groups whose rollouts are all scored.
    num_scored_groups: u64,
}

pub(crate) fn written(evidence: &Evidence) -> Table {
    let mut conditions = evidence.scored();
    conditions.retain(|condition| evidence.writes(condition));
    let rows: Vec<&Condition<'_>> = conditions.iter().collect();
    let counts: Vec<Counts> = rows.iter().map(|row| count(evidence, row)).collect();
    let numbers = |of: fn(&Counts) -> u64| counts.iter().map(of).collect::<Vec<_>>();
    let share = |part: fn(&Counts) -> u64, whole: fn(&Counts) -> u64| {
        let share = |c: &Counts| (whole(c) > 0).then(|| part(c) as f64 / whole(c) as f64);
        counts.iter().map(share).collect::<Vec<_>>()
    };
    let answers = |c: &Counts| if c.has_rubric { 0 } else { c.num_written };
    let caption = "Origin of written pseudo-references, and how often they are right where no \
                   rollout is";
    let mut table = Table::new("written", caption);
    identify(&mut table, evidence, &rows);
    table.count("written", numbers(|c| c.num_written));
    table.number("copied", share(|c| c.num_copied, |c| c.num_written));
    table.number("new_answer", share(|c| c.num_new, answers));
    table.number("new_right", share(|c| c.num_new_right, |c| c.num_new));
    table.count("all_wrong", numbers(|c| c.num_all_wrong));
    table.count("right_when_all_wrong", numbers(|c| c.num_rescued));
    table.number("all_wrong_of_questions", share(|c| c.num_rescued, answers_of));
    table.number("share", share(|c| c.num_rescued, |c| c.num_all_wrong));
    table
}

fn answers_of(counts: &Counts) -> u64 {
    counts.num_scored_groups
}

fn count(evidence: &Evidence, condition: &Condition<'_>) -> Counts {
    let has_rubric = evidence.has_rubric(condition.cell);
    let mut counts = Counts { has_rubric, ..Counts::default() };
    for cell in &condition.cells {
        for prompt in &cell.prompts {
            count_one(evidence, cell, prompt, &mut counts);
        }
    }
    counts
}

fn count_one(evidence: &Evidence, cell: &CellRecord, prompt: &PromptId, counts: &mut Counts) {
    let facts = evidence.aggregate(cell, prompt.as_str());
    let Some(form) = facts.and_then(AggregateFacts::written) else { return };
    counts.num_written += 1;
    let is_copy = |index: u32| {
        let of_rollout = evidence.rollout(cell, prompt, index).and_then(|of| of.form.as_ref());
        of_rollout.is_some_and(|of_rollout| of_rollout.has_words_of(form))
    };
    counts.num_copied += u64::from((0..cell.group_size).any(is_copy));
    if counts.has_rubric {
        return;
    }
    let Some(given) = answer_of(evidence, cell, prompt) else { return };
    let is_right = given.is_right == Some(true);
    counts.num_new += u64::from(given.is_new);
    counts.num_new_right += u64::from(given.is_new && is_right);
    let scores: Option<Vec<f64>> =
        (0..cell.group_size).map(|i| evidence.rollout_score(cell, prompt, i)).collect();
    let Some(scores) = scores else { return };
    counts.num_scored_groups += 1;
    if scores.iter().all(|score| *score < 1.0) {
        counts.num_all_wrong += 1;
        counts.num_rescued += u64::from(is_right);
    }
}
