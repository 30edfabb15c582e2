//! `grade`.

use std::process::ExitCode;

use preceptor_experiment::grade_responses;
use preceptor_files::{Files, Places};
use serde_json::json;

use crate::arguments::GradeArguments;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn grade(arguments: &GradeArguments, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    let graded =
        grade_responses(&arguments.benchmark, &arguments.responses, arguments.grader, &files)?;
    let accuracy = graded.accuracy;
    output.json(&json!({
        "benchmark": arguments.benchmark,
        "grader": graded.grader,
        "accuracy": accuracy.map(|estimate| estimate.mean),
        "interval": accuracy.and_then(|e| e.interval).map(|i| [i.low, i.high]),
        "prompts": accuracy.map_or(0, |estimate| estimate.num_clusters),
        "responses": graded.grades.len(),
        "unanswered-prompts": graded.num_unanswered,
        "grades": graded.grades,
    }));
    let rows: Vec<_> = graded
        .grades
        .iter()
        .map(|grade| {
            let score = grade.score.value().map_or("-".to_owned(), |score| score.to_string());
            let answer = grade.answer.clone().unwrap_or_else(|| format!("({})", grade.extraction));
            vec![score, grade.prompt.to_string(), answer, grade.reason.clone()]
        })
        .collect();
    output.table(&["score", "prompt", "answer", "reason"], &rows);
    if let Some(estimate) = accuracy {
        let interval = estimate.interval.map_or_else(String::new, |interval| {
            format!(", 95 % interval {:.3} to {:.3}", interval.low, interval.high)
        });
        output.text(format!(
            "accuracy {:.3}{interval}; {} responses to {} prompts, {} prompts without one; grader {}",
            estimate.mean,
            graded.grades.len(),
            estimate.num_clusters,
            graded.num_unanswered,
            graded.grader.name()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
