//! `failures`: everything that failed or could not be measured, counted by reason.
//!
//! - `what` = `rollout`, `rollout-grade`, `answer-classes`, `pseudo-reference`, `grade`, `rewards`:
//!   records that are missing because a call failed; the reason is the noted one.
//! - `abstention`: groups without a pseudo-reference.
//! - `unscored`: pseudo-references, `unscored rollout`: rollouts whose score is missing.
//! - `unrewarded rollout`: rollouts without a reward.
//! - `verdict`: answers of the benchmark's judge, `reward verdict`: of the reward's judge, that are
//!   missing; they are the reason of many of the above.
//!
//! `count` of `of` records, groups, rollouts or verdicts, all seeds together. Records that several
//! conditions share are counted once. Reasons are cut after 80 characters.

use std::collections::BTreeMap;

use preceptor_core::record::{CellRecord, CellStages, Score, rollout_key};
use preceptor_core::{Digest, JudgeFailure, PromptId, RewardValue};

use crate::condition::{Condition, identify};
use crate::evidence::Evidence;
use crate::facts::{GradeFacts, OutcomeFacts};
use crate::table::Table;

/// The longest reason, in characters.
const REASON_LENGTH: usize = 80;

/// Counts of one condition by what and reason, and how many there were of each what.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<(&'static str, String), u64>,
    totals: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts one case, and its reason if it is a failure.
    fn add(&mut self, what: &'static str, reason: Option<impl AsRef<str>>) {
        *self.totals.entry(what).or_default() += 1;
        if let Some(reason) = reason {
            let reason = reason.as_ref().chars().take(REASON_LENGTH).collect();
            *self.counts.entry((what, reason)).or_default() += 1;
        }
    }
}

/// Stage of a part of the table, and the function that counts a cell's records of it.
type Part = (fn(&CellStages) -> Option<&Digest>, fn(&Evidence, &CellRecord, &mut Tally));

const PARTS: [Part; 6] = [
    (|stages| Some(&stages.rollouts), tally_rollouts),
    (|stages| Some(&stages.rollout_grades), tally_rollout_grades),
    (|stages| Some(&stages.answer_classes), tally_answer_classes),
    (|stages| Some(&stages.aggregates), tally_aggregates),
    (|stages| Some(&stages.grades), tally_grades),
    (|stages| stages.rewards.as_ref(), tally_rewards),
];

pub(crate) fn failures(evidence: &Evidence) -> Table {
    let mut found: Vec<(Condition<'_>, Tally)> = Vec::new();
    for (stage, tally_cell) in PARTS {
        for condition in evidence.distinct(|stages| Some(vec![stage(stages)?])) {
            let mut tally = Tally::default();
            for cell in &condition.cells {
                tally_cell(evidence, cell, &mut tally);
            }
            found.push((condition, tally));
        }
    }
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut whats, mut reasons) = (Vec::new(), Vec::new());
    let (mut counts, mut totals) = (Vec::new(), Vec::new());
    for (condition, tally) in &found {
        for ((what, reason), count) in &tally.counts {
            rows.push(condition);
            whats.push((*what).to_owned());
            reasons.push(reason.clone());
            counts.push(*count);
            totals.push(tally.totals[what]);
        }
    }
    let caption = "Failed calls and missing measurements, by reason";
    let mut table = Table::new("failures", caption);
    identify(&mut table, evidence, &rows);
    table.text("what", whats);
    table.text("reason", reasons);
    table.count("count", counts);
    table.count("of", totals);
    table
}

/// Returns the noted reason of a missing record; none if the record is present.
fn missing<K: AsRef<str>>(
    evidence: &Evidence,
    stage: &Digest,
    key: impl FnOnce() -> K,
    there: bool,
) -> Option<String> {
    if there {
        return None;
    }
    let noted = evidence.failure(stage, key().as_ref());
    Some(noted.unwrap_or("a record that it depends on is missing").to_owned())
}

fn rollouts_of(cell: &CellRecord) -> impl Iterator<Item = (&PromptId, u32)> {
    let of_prompt = |prompt| (0..cell.group_size).map(move |index| (prompt, index));
    cell.prompts.iter().flat_map(of_prompt)
}

fn tally_rollouts(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    for (prompt, index) in rollouts_of(cell) {
        let there = evidence.rollout(cell, prompt, index).is_some();
        let key = || rollout_key(prompt, index);
        tally.add("rollout", missing(evidence, &cell.stages.rollouts, key, there));
    }
}

fn tally_rollout_grades(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    for (prompt, index) in rollouts_of(cell) {
        let grade = evidence.rollout_grade(cell, prompt, index);
        let (stage, key) = (&cell.stages.rollout_grades, || rollout_key(prompt, index));
        tally.add("rollout-grade", missing(evidence, stage, key, grade.is_some()));
        if let Some(grade) = grade {
            tally_grade("unscored rollout", grade, tally);
        }
    }
}

fn tally_answer_classes(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    for prompt in &cell.prompts {
        let there = evidence.classes(cell, prompt.as_str()).is_some();
        let stage = &cell.stages.answer_classes;
        tally.add("answer-classes", missing(evidence, stage, || prompt.as_str(), there));
    }
}

fn tally_aggregates(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    for prompt in &cell.prompts {
        let record = evidence.aggregate(cell, prompt.as_str());
        let stage = &cell.stages.aggregates;
        tally.add(
            "pseudo-reference",
            missing(evidence, stage, || prompt.as_str(), record.is_some()),
        );
        if let Some(facts) = record {
            let reason = match &facts.outcome {
                OutcomeFacts::Chosen(_) | OutcomeFacts::Written(_) => None,
                OutcomeFacts::Abstained(reason) => Some(reason.name()),
            };
            tally.add("abstention", reason);
        }
    }
}

fn tally_grades(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    for prompt in &cell.prompts {
        let grade = evidence.grade(cell, prompt.as_str());
        let stage = &cell.stages.grades;
        tally.add("grade", missing(evidence, stage, || prompt.as_str(), grade.is_some()));
        if let Some(grade) = grade {
            tally_grade("unscored", grade, tally);
        }
    }
}

fn tally_rewards(evidence: &Evidence, cell: &CellRecord, tally: &mut Tally) {
    let Some(stage) = &cell.stages.rewards else { return };
    for prompt in &cell.prompts {
        let record = evidence.reward(cell, prompt.as_str());
        tally.add("rewards", missing(evidence, stage, || prompt.as_str(), record.is_some()));
        let Some(facts) = record else { continue };
        for reward in &facts.rewards {
            let reason = match reward {
                RewardValue::Rewarded(_) => None,
                RewardValue::Unrewarded(reason) => Some(reason.name()),
            };
            tally.add("unrewarded rollout", reason);
        }
        for failure in &facts.verdicts {
            tally.add("reward verdict", failure.map(JudgeFailure::name));
        }
    }
}

/// Counts a grade and its verdicts. The reason of a score by verdicts is the first that failed, so
/// that reasons don't differ in numbers only.
fn tally_grade(what: &'static str, grade: &GradeFacts, tally: &mut Tally) {
    let first = grade.verdicts.iter().find_map(|verdict| verdict.failure).map(JudgeFailure::name);
    let reason = match &grade.score {
        Score::Scored(_) => None,
        Score::Unscored(reason) => Some(first.unwrap_or(reason)),
    };
    tally.add(what, reason);
    for verdict in &grade.verdicts {
        tally.add("verdict", verdict.failure.map(JudgeFailure::name));
    }
}
