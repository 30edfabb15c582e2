//! Results in the form of lm-evaluation-harness: a file for each evaluated policy and seed.
//!
//! The task `BENCHMARK` is the mean score of the rollouts, and `BENCHMARK, ESTIMATE` that of an estimate.
//! Standard errors are over prompts.

use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_store::Store;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::{Met, SetHead, Texts, Visitor, benchmarks, mean, walk};
use crate::file::{file_name, write_file};

/// Gathers the scores of one set, by prompt.
struct Results<'e> {
    code_revision: &'e str,
    benchmark: String,
    folder: &'e Path,
    files: &'e mut Vec<PathBuf>,
    texts: Texts,
    head: Option<SetHead>,
    /// The rollouts, then each estimate.
    tasks: Vec<(String, Vec<Option<f64>>)>,
}

/// Returns the mean of the scores and its standard error, each if there is one.
fn mean_and_error(scores: &[Option<f64>]) -> (Option<f64>, Option<f64>) {
    let known: Vec<f64> = scores.iter().copied().flatten().collect();
    let num = known.len() as f64;
    let centre = mean(scores.iter().copied());
    let squares = centre.map(|centre| known.iter().map(|one| (one - centre).powi(2)).sum::<f64>());
    let error = squares.filter(|_| num > 1.0).map(|sum| (sum / (num - 1.0) / num).sqrt());
    (centre, error)
}

impl Results<'_> {
    fn write(&mut self) -> Result<(), Error> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let mut by_task: [Map<String, Value>; 6] = Default::default();
        for (task, scores) in self.tasks.drain(..) {
            let (score, error) = mean_and_error(&scores);
            let missing = || json!("N/A");
            let known = scores.iter().flatten().count();
            let values = [
                json!({
                    "alias": task, "score,none": score.map_or_else(missing, |score| json!(score)),
                    "score_stderr,none": error.map_or_else(missing, |error| json!(error)),
                }),
                json!({ "task": task, "metadata": { "grader": head.grader, "policy": head.label } }),
                json!(head.grader),
                json!(0),
                json!({ "score": true }),
                json!({ "original": scores.len(), "effective": known }),
            ];
            for (map, value) in by_task.iter_mut().zip(values) {
                map.insert(task.clone(), value);
            }
        }
        let [results, configs, versions, num_shot, higher, num_samples] = by_task;
        let file = json!({
            "results": results, "group_subtasks": {}, "configs": configs, "versions": versions,
            "n-shot": num_shot, "higher_is_better": higher, "n-samples": num_samples,
            "config": {
                "model": "preceptor", "model_args": { "policy": head.label, "step": head.step },
                "random_seed": head.seed, "num_fewshot": 0, "batch_size": null, "limit": null,
            },
            "git_hash": self.code_revision, "date": 0, "model_source": "preceptor",
            "model_name": head.model, "model_name_sanitized": file_name(&head.model),
        });
        let name = format!("{}-{}-seed-{}-{}", self.benchmark, head.label, head.seed, head.key);
        let path = self.folder.join(format!("results_{}.json", file_name(&name)));
        let text = serde_json::to_string_pretty(&file).expect("results are plain data");
        write_file(&path, &(text + "\n"), self.files)
    }
}

impl Visitor for Results<'_> {
    fn start(&mut self, head: &SetHead, _: usize) -> Result<(), Error> {
        self.write()?;
        if head.is_evaluation() {
            let estimates = head.estimates.iter();
            let names = estimates.map(|part| format!("{}, {}", self.benchmark, part.name));
            let names = std::iter::once(self.benchmark.clone()).chain(names);
            self.tasks = names.map(|name| (name, Vec::new())).collect();
            self.head = Some(head.clone());
        }
        Ok(())
    }

    fn texts(&mut self, _: Option<u64>) -> &mut Texts {
        self.texts.clear();
        &mut self.texts
    }

    fn add(&mut self, met: &Met<'_>) -> Result<(), Error> {
        let [rollouts, estimates @ ..] = self.tasks.as_mut_slice() else { return Ok(()) };
        rollouts.1.push(mean(met.view.rollouts.iter().map(|rollout| rollout.score)));
        for ((_, scores), estimate) in estimates.iter_mut().zip(&met.view.estimates) {
            scores.extend(estimate.as_ref().map(|estimate| estimate.score));
        }
        Ok(())
    }
}

/// Writes the evaluations of the plan with digest `plan` as results of lm-evaluation-harness into `folder`.
///
/// # Errors
///
/// [`Error::Incomplete`] if records are missing; errors of reading and writing.
pub fn write_lm_eval_results(
    store: &Store,
    plan: &Digest,
    folder: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let evidence = Evidence::load(store, plan)?;
    let mut files = Vec::new();
    for (benchmark, _) in benchmarks(&evidence) {
        let mut results = Results {
            code_revision: &evidence.plan.code_revision,
            benchmark: benchmark.to_owned(),
            folder,
            files: &mut files,
            texts: Texts::default(),
            head: None,
            tasks: Vec::new(),
        };
        walk(store, &evidence, benchmark, &mut results)?;
        results.write()?;
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_scores_count_for_nothing() {
        let (score, error) = mean_and_error(&[Some(1.0), None, Some(0.0), Some(1.0)]);
        assert!((score.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        // Squares 1/9, 4/9, 1/9; variance 1/3; over three prompts.
        assert!((error.unwrap() - (1.0_f64 / 9.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean_and_error(&[None]), (None, None));
        assert_eq!(mean_and_error(&[Some(0.5)]), (Some(0.5), None));
    }
}
