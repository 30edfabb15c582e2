//! `structure`: differences in form between written pseudo-references and the rollouts that they
//! were made from. One row is of the rollouts, and one of each aggregator that writes, for the same
//! groups.
//!
//! Means over texts of `characters` (Unicode), `words`, `lines`, `equations`, `step_words` and
//! `verification_cues`, counted as in `text_form.rs`; `boxed` is the share of texts with a final answer (`-`
//! where texts are scored by rubrics).
//!
//! A synthesis counts with the part that is the pseudo-reference. `texts` is how many there are.

use preceptor_core::record::CellRecord;

use crate::condition::{Condition, identify_groups};
use crate::evidence::Evidence;
use crate::facts::{AggregateFacts, GradeFacts};
use crate::table::Table;
use crate::text_form::TextForm;

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
    fn add(&mut self, form: &TextForm, grade: Option<&GradeFacts>) {
        self.num_texts += 1;
        self.num_boxed += u64::from(grade.is_some_and(|grade| grade.answer.is_some()));
        self.num_characters += form.num_characters;
        self.num_words += form.num_words;
        self.num_lines += form.num_lines;
        self.num_equations += form.num_equations;
        self.num_step_words += form.num_step_words;
        self.num_cues += form.num_cues;
    }
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
            let facts = evidence.rollout(cell, prompt, index);
            if let Some(of_text) = facts.and_then(|facts| facts.form.as_ref()) {
                form.add(of_text, evidence.rollout_grade(cell, prompt, index));
            }
        }
    }
}

fn add_references(evidence: &Evidence, cell: &CellRecord, form: &mut Form) {
    for prompt in &cell.prompts {
        let facts = evidence.aggregate(cell, prompt.as_str());
        if let Some(written) = facts.and_then(AggregateFacts::written) {
            form.add(written, evidence.grade(cell, prompt.as_str()));
        }
    }
}
