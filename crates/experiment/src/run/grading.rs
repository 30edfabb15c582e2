//! Grading texts against labels: final answers by computation, rubrics by the benchmark's judge.

use std::collections::BTreeMap;

use preceptor_benchmarks::healthbench_strict::{self, Item};
use preceptor_benchmarks::pocket_rules::PocketRules;
use preceptor_benchmarks::{Grader, Task, grade};
use preceptor_core::record::{GradeRecord, Score, rollout_key};
use preceptor_core::{JudgedCriterion, ModelRole, PromptId, Rollout};

use crate::Error;
use crate::manifest::settings::EvalJudgeSettings;
use crate::plan::cell::Cell;
use crate::run::cached_model::CachedModel;
use crate::run::session::Session;
use crate::run::stage_filler::{Outcome, fill};

/// Task with a text to grade; none if there is no pseudo-reference.
pub(crate) type TextToGrade<'a> = (&'a Task, Option<&'a str>);

/// Grades each text as the cell's grader does.
pub(crate) fn grade_texts(
    cell: &Cell,
    session: &Session<'_>,
    texts: &[TextToGrade<'_>],
) -> Result<Vec<Outcome<GradeRecord>>, Error> {
    let judge = eval_judge(cell, session);
    match (cell.grader, &judge, &cell.eval_judge) {
        (Grader::Answer(profile), _, _) => Ok(texts
            .iter()
            .map(|(task, text)| {
                let graded = grade(profile, &task.label, text.unwrap_or(""));
                let (extraction, reason) = match text {
                    Some(_) => (graded.extraction, graded.reason),
                    // An abstention is an answer that is wrong.
                    None => abstained(),
                };
                Outcome::Record(GradeRecord {
                    prompt: task.prompt.id.clone(),
                    score: graded.score,
                    answer: graded.answer,
                    extraction,
                    reason,
                    label: task.label.display_text(),
                    judged: Vec::new(),
                })
            })
            .collect()),
        (Grader::HealthBenchStrict, Some(judge), Some(of)) => {
            let judged: Vec<Item<'_>> = texts
                .iter()
                .filter_map(|(task, text)| {
                    let rubric = task.label.rubric()?;
                    Some(Item::new(&task.prompt, rubric, (*text)?))
                })
                .collect();
            let EvalJudgeSettings { attempts, prompt_text, rules, .. } = &of.settings;
            let template = prompt_text.as_deref();
            let grades = match rules {
                Some(rules) => healthbench_strict::grade_by(&PocketRules::new(rules), &judged)?,
                None => {
                    healthbench_strict::grade(judge, &of.sampling, *attempts, template, &judged)?
                }
            };
            let mut grades = grades.into_iter();
            let made = texts.iter().map(|(task, text)| match text {
                Some(_) => judged_record(task, grades.next().expect("one grade for each item")),
                None => {
                    let (extraction, reason) = abstained();
                    let score = Score::Unscored(reason.clone());
                    Outcome::Record(record(task, score, extraction, reason, Vec::new()))
                }
            });
            Ok(made.collect())
        }
        (Grader::HealthBenchStrict, _, _) => unreachable!("a plan has a judge where one grades"),
    }
}

fn abstained() -> (String, String) {
    ("abstained".to_owned(), "there is no pseudo-reference".to_owned())
}

fn record(
    task: &Task,
    score: Score,
    extraction: String,
    reason: String,
    judged: Vec<JudgedCriterion>,
) -> GradeRecord {
    GradeRecord {
        prompt: task.prompt.id.clone(),
        score,
        answer: None,
        extraction,
        reason,
        // The criteria are with the verdicts.
        label: String::new(),
        judged,
    }
}

/// Returns the record of a judged text. It fails while a missing verdict may still be had.
fn judged_record(task: &Task, grade: healthbench_strict::Graded) -> Outcome<GradeRecord> {
    let healthbench_strict::Graded { score, judged, failures } = grade;
    if let Some(failure) = failures.iter().find(|failure| failure.is_transient()) {
        return Outcome::Failed(format!(
            "{} of {} verdicts: {}",
            failures.len(),
            judged.len(),
            failure.name()
        ));
    }
    let num_met = judged.iter().filter(|(_, judged)| judged.answer.met() == Some(true)).count();
    let reason = match failures.first() {
        None => format!("{num_met} of {} items met", judged.len()),
        Some(failure) => {
            format!("{} of {} verdicts failed: {}", failures.len(), judged.len(), failure.name())
        }
    };
    let score = match score {
        Some(score) => Score::Scored(score),
        None => Score::Unscored(reason.clone()),
    };
    let judged = judged
        .into_iter()
        .map(|(criterion, judged)| JudgedCriterion::Verdict { criterion, judged })
        .collect();
    Outcome::Record(record(task, score, "whole".to_owned(), reason, judged))
}

/// Returns the benchmark's judge of a cell, where its grader asks one.
fn eval_judge<'s, 'a>(cell: &Cell, session: &'s Session<'a>) -> Option<CachedModel<'s, 'a>> {
    cell.eval_judge.as_ref().map(|judge| CachedModel {
        session,
        role: ModelRole::EvalJudge,
        name: judge.settings.model.clone(),
        identity: judge.identity.clone(),
    })
}

/// Grades every rollout of `tasks` as `cell` does. Returns the number of rollouts that could not be
/// graded.
pub(crate) fn grade_rollouts(
    cell: &Cell,
    tasks: &[Task],
    session: &Session<'_>,
    rollouts: &BTreeMap<PromptId, Vec<Rollout>>,
) -> Result<u64, Error> {
    let of_task = |task: &'_ Task| rollouts.get(&task.prompt.id).map_or(&[][..], Vec::as_slice);
    let items: Vec<(&Task, &Rollout)> =
        tasks.iter().flat_map(|task| of_task(task).iter().map(move |o| (task, o))).collect();
    let key = |(task, rollout): &(&Task, &Rollout)| rollout_key(&task.prompt.id, rollout.index);
    fill(session, &cell.stages.rollout_grades, &items, key, |missing| {
        let texts: Vec<_> =
            missing.iter().map(|(task, o)| (*task, Some(o.text.as_str()))).collect();
        grade_texts(cell, session, &texts)
    })
}
