//! `grade`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use preceptor_answers::GraderProfile;
use preceptor_experiment::{
    BenchmarkSettings, VerdictGrade, benchmark_settings, grade_responses, grade_verdicts,
};
use preceptor_files::{Files, Places};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Output, or_dash};

#[derive(Debug, Args)]
pub(crate) struct GradeArguments {
    /// The benchmark's kind, for example `math500`.
    pub(crate) benchmark: String,
    /// JSONL with `{"prompt_id": "..", "response": ".."}` a line.
    #[arg(long, value_name = "FILE", required_unless_present = "verdicts")]
    pub(crate) responses: Option<PathBuf>,
    /// Instead, recorded verdicts on a rubric benchmark: JSONL with `{"prompt_id": "..", "repeat": 0,
    /// "criterion": 0, "met": true}` a line; `met` is true, false or null.
    #[arg(long, value_name = "FILE", conflicts_with = "responses")]
    pub(crate) verdicts: Option<PathBuf>,
    /// Set a key of the benchmark, for example `set=random500`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Resamples of the bootstrap, whose seeds count from 0.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) resamples: u64,
    /// The grader profile; default is the benchmark's own.
    #[arg(long)]
    pub(crate) grader: Option<GraderProfile>,
}

pub(crate) fn grade(arguments: &GradeArguments, output: &Output) -> Result<ExitCode, Failure> {
    let files = Files::open(Places::from_env())?;
    let benchmark = benchmark_settings(&arguments.benchmark, &arguments.settings)?;
    match (&arguments.responses, &arguments.verdicts) {
        (_, Some(path)) => {
            let seeds: Vec<u64> = (0..arguments.resamples).collect();
            show_verdicts(&grade_verdicts(&benchmark, path, &seeds, &files)?, output);
            Ok(ExitCode::SUCCESS)
        }
        (Some(path), None) => responses(arguments, &benchmark, path, &files, output),
        (None, None) => unreachable!("one of them is required"),
    }
}

fn show_verdicts(graded: &VerdictGrade, output: &Output) {
    output.json(&json!({
        "metrics": graded.metrics.iter().map(|(name, metric)| json!({
            "metric": name, "score": metric.mean, "bootstrap-std": metric.bootstrap_std,
            "n-samples": metric.num_examples, "unscored": metric.num_unscored,
        })).collect::<Vec<_>>(),
        "worst-at-k": graded.worst_at_k,
        "responses": graded.num_responses,
        "unscored": graded.num_unscored,
    }));
    let rows: Vec<_> = graded
        .metrics
        .iter()
        .map(|(name, metric)| {
            vec![
                name.clone(),
                format!("{:.4}", metric.mean),
                format!("{:.4}", metric.bootstrap_std),
                metric.num_examples.to_string(),
                metric.num_unscored.to_string(),
            ]
        })
        .collect();
    output.table(&["metric", "score", "bootstrap std", "n", "unscored"], &rows);
    for (i, score) in graded.worst_at_k.iter().enumerate().skip(1) {
        output.text(format!("worst at {}: {}", i + 1, or_dash(Some(*score))));
    }
    output.text(format!(
        "{} responses, {} unscored because a verdict is missing",
        graded.num_responses, graded.num_unscored
    ));
}

fn responses(
    arguments: &GradeArguments,
    benchmark: &BenchmarkSettings,
    path: &Path,
    files: &Files,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let graded = grade_responses(benchmark, path, arguments.grader, files)?;
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
            format!(", 95% interval {:.3} to {:.3}", interval.low, interval.high)
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
