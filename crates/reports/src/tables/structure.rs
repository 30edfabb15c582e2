//! `structure`: differences in form between written pseudo-references and the rollouts that they
//! were made from. One row is of the rollouts, and one of each aggregator that writes, for the same
//! groups.
//!
//! Means over texts of
//!
//! - `characters` (Unicode), `words` (separated by white space), `lines` (that are not blank);
//! - `equations`: equals signs that are no part of `==`, `<=`, `>=`, `!=`, `:=` or `=>`, and display
//!   formulas (`$$..$$`, `\[..\]`) without an equals sign;
//! - `step_words`: first, firstly, second, secondly, third, thirdly, next, then, step, so, thus, hence,
//!   therefore, finally, because, since;
//! - `verification_cues`: check, checks, checked, checking, recheck, verify, verifies, verified,
//!   verifying, verification, confirm, confirms, wait, and the phrases "substitute back", "plug back",
//!   "substituting back", "plugging back", "make sure";
//! - `boxed`: the share of texts with a final answer (`-` where texts are scored by rubrics).
//!
//! Words are compared in lower case, without marks around them. A synthesis counts with the part that
//! is the pseudo-reference. `texts` is how many there are.

use preceptor_core::record::{CellRecord, GradeRecord, rollout_key};
use preceptor_core::{AggregateOutcome, Origin};

use crate::condition::{Condition, identify_groups};
use crate::evidence::Evidence;
use crate::table::Table;

const STEP_WORDS: [&str; 16] = [
    "first",
    "firstly",
    "second",
    "secondly",
    "third",
    "thirdly",
    "next",
    "then",
    "step",
    "so",
    "thus",
    "hence",
    "therefore",
    "finally",
    "because",
    "since",
];
const VERIFICATION_WORDS: [&str; 13] = [
    "check",
    "checks",
    "checked",
    "checking",
    "recheck",
    "verify",
    "verifies",
    "verified",
    "verifying",
    "verification",
    "confirm",
    "confirms",
    "wait",
];
const VERIFICATION_PHRASES: [[&str; 2]; 5] = [
    ["substitute", "back"],
    ["plug", "back"],
    ["substituting", "back"],
    ["plugging", "back"],
    ["make", "sure"],
];

/// Sums over texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Form {
    num_texts: u64,
    num_boxed: u64,
    num_characters: u64,
    num_words: u64,
    num_lines: u64,
    num_equations: u64,
    num_step_words: u64,
    num_cues: u64,
}

impl Form {
    fn add(&mut self, text: &str, grade: Option<&GradeRecord>) {
        let words: Vec<String> = text
            .split_whitespace()
            .flat_map(|word| word.split('-'))
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
            .collect();
        let count =
            |list: &[&str]| words.iter().filter(|word| list.contains(&word.as_str())).count();
        let phrases = words
            .windows(2)
            .filter(|pair| VERIFICATION_PHRASES.iter().any(|phrase| pair == phrase));
        self.num_texts += 1;
        self.num_boxed += u64::from(grade.is_some_and(|grade| grade.answer.is_some()));
        self.num_characters += text.chars().count() as u64;
        self.num_words += text.split_whitespace().count() as u64;
        self.num_lines += text.lines().filter(|line| !line.trim().is_empty()).count() as u64;
        self.num_equations += equations(text);
        self.num_step_words += count(&STEP_WORDS) as u64;
        self.num_cues += (count(&VERIFICATION_WORDS) + phrases.count()) as u64;
    }
}

fn equations(text: &str) -> u64 {
    let is_part = |c: Option<char>| c.is_some_and(|c| "=<>!:".contains(c));
    let mut before = None;
    let mut chars = text.chars().peekable();
    let mut count = 0;
    while let Some(c) = chars.next() {
        count += u64::from(c == '=' && !is_part(before) && !is_part(chars.peek().copied()));
        before = Some(c);
    }
    let dollars = text.split("$$").skip(1).step_by(2);
    let brackets = text.split("\\[").skip(1).filter_map(|rest| rest.split_once("\\]"));
    let formulas = dollars.chain(brackets.map(|(formula, _)| formula));
    count + formulas.filter(|formula| !formula.contains('=')).count() as u64
}

pub(crate) fn structure(evidence: &Evidence) -> Table {
    let mut conditions = evidence.scored();
    conditions.retain(|condition| evidence.writes(condition));
    let mut rows: Vec<&Condition<'_>> = Vec::new();
    let (mut sources, mut forms) = (Vec::new(), Vec::new());
    for (i, condition) in conditions.iter().enumerate() {
        if !conditions[..i].iter().any(|before| before.shares_groups(condition)) {
            rows.push(condition);
            sources.push("rollouts".to_owned());
            forms.push(form(condition, &|cell, form| add_rollouts(evidence, cell, form)));
        }
        rows.push(condition);
        sources.push(condition.estimate_name(evidence));
        forms.push(form(condition, &|cell, form| add_references(evidence, cell, form)));
    }
    let caption = "Form of rollouts and of pseudo-references written from them, means over texts";
    let mut table = Table::new("structure", caption);
    identify_groups(&mut table, evidence, &rows);
    table.text("source", sources);
    table.count("texts", forms.iter().map(|form| form.num_texts).collect());
    let mean = |of: fn(&Form) -> u64| {
        let mean =
            |form: &Form| (form.num_texts > 0).then(|| of(form) as f64 / form.num_texts as f64);
        forms.iter().map(mean).collect::<Vec<_>>()
    };
    table.number("characters", mean(|form| form.num_characters));
    table.number("words", mean(|form| form.num_words));
    table.number("lines", mean(|form| form.num_lines));
    table.number("equations", mean(|form| form.num_equations));
    table.number("step_words", mean(|form| form.num_step_words));
    table.number("verification_cues", mean(|form| form.num_cues));
    let boxed = mean(|form| form.num_boxed).into_iter().zip(&rows);
    let boxed = boxed.map(|(share, row)| share.filter(|_| !evidence.has_rubric(row.cell)));
    table.number("boxed", boxed.collect());
    table
}

fn form(condition: &Condition<'_>, add: &dyn Fn(&CellRecord, &mut Form)) -> Form {
    let mut form = Form::default();
    for cell in &condition.cells {
        add(cell, &mut form);
    }
    form
}

fn add_rollouts(evidence: &Evidence, cell: &CellRecord, form: &mut Form) {
    for prompt in &cell.prompts {
        for index in 0..cell.group_size {
            let key = rollout_key(prompt, index);
            if let Some(record) = evidence.rollout(cell, &key) {
                form.add(&record.rollout.text, evidence.rollout_grade(cell, &key));
            }
        }
    }
}

fn add_references(evidence: &Evidence, cell: &CellRecord, form: &mut Form) {
    for prompt in &cell.prompts {
        let record = evidence.aggregate(cell, prompt.as_str());
        if let Some(AggregateOutcome::Estimated(reference)) = record.map(|r| &r.aggregate.outcome)
            && reference.origin == Origin::Written
        {
            form.add(&reference.text, evidence.grade(cell, prompt.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_counted_by_the_written_rules() {
        let text = "First, x = 2.\n\nThen y == x, z <= 3 := 4; so:\n$$a + b$$ \\[c = d\\] $$e$$\n\
                    Let me double-check: Wait! Substitute back, make sure.";
        let mut form = Form::default();
        form.add(text, None);
        assert_eq!(
            form,
            Form {
                num_texts: 1,
                num_boxed: 0,
                // 13 + 0 + 29 + 25 + 54, and four line feeds.
                num_characters: 125,
                num_words: 29,
                num_lines: 4,
                // x = 2, a + b, c = d, e.
                num_equations: 4,
                // First, Then, so.
                num_step_words: 3,
                // check, Wait, Substitute back, make sure.
                num_cues: 4,
            }
        );
    }
}
