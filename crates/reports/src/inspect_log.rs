//! Logs for Inspect (`inspect view`): one for the rollouts of each evaluated policy and seed, and one for
//! each estimate made from them.
//!
//! A sample is a prompt; rollouts are its epochs. Groups of training steps are in no log. Logs hold no
//! times, so that the same store gives the same bytes. Format: version 2 of `EvalLog`.

use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_store::Store;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::evidence::Evidence;
use crate::explorer::{Met, SetHead, Texts, Visitor, benchmarks, mean, walk};
use crate::file::{file_name, write_file};

/// The time of every log.
const NO_TIME: &str = "1970-01-01T00:00:00+00:00";
/// The time in names of files.
const FILE_TIME: &str = "1970-01-01T00-00-00";

/// A log. Inspect reads the head of a file, so samples come last.
#[derive(Serialize)]
struct EvalLog {
    version: u32,
    status: &'static str,
    eval: Value,
    plan: Value,
    results: Value,
    stats: Value,
    samples: Vec<Value>,
}

/// A log that is being filled.
struct Log {
    name: String,
    samples: Vec<Value>,
    scores: Vec<Option<f64>>,
}

/// Gathers the logs of one set.
struct Logs<'e> {
    experiment: &'e str,
    code_revision: &'e str,
    benchmark: String,
    folder: &'e Path,
    files: &'e mut Vec<PathBuf>,
    texts: Texts,
    head: Option<SetHead>,
    /// The rollouts, then each estimate.
    logs: Vec<Log>,
}

/// A text with its score.
struct Scored<'t> {
    epoch: usize,
    text: &'t str,
    answer: Option<&'t str>,
    score: Option<f64>,
    reason: &'t str,
    stop_reason: &'static str,
    metadata: Value,
}

fn sample(met: &Met<'_>, model: &str, scored: &Scored<'_>) -> Value {
    let asked = met.record.map(|record| record.prompt.display_text()).unwrap_or_default();
    let message = json!({ "role": "assistant", "content": scored.text, "source": "generate" });
    let score = match scored.score {
        Some(value) => json!(value),
        // Inspect has no missing score; this is what it shows for no answer.
        None => json!("N"),
    };
    json!({
        "id": met.prompt, "epoch": scored.epoch,
        "input": asked, "target": met.label.unwrap_or_default(),
        "messages": [{ "role": "user", "content": asked, "source": "input" }, message],
        "output": {
            "model": model,
            "choices": [{ "message": message, "stop_reason": scored.stop_reason }],
        },
        "scores": { "score": {
            "value": score, "answer": scored.answer, "explanation": scored.reason,
        } },
        "metadata": scored.metadata, "store": {}, "events": [], "model_usage": {}, "attachments": {},
    })
}

impl Logs<'_> {
    fn write(&mut self) -> Result<(), Error> {
        let Some(head) = self.head.take() else { return Ok(()) };
        for Log { name, samples, scores } in self.logs.drain(..) {
            let (experiment, benchmark) = (self.experiment, &self.benchmark);
            let task = format!("{benchmark}: {name}");
            let id = Digest::of(format!("{experiment} {} {name}", head.key).as_bytes());
            let id = id.short();
            let mut ids: Vec<&Value> = samples.iter().map(|sample| &sample["id"]).collect();
            ids.dedup();
            let metadata = json!({
                "experiment": experiment, "policy": head.label, "seed": head.seed, "step": head.step,
                "grader": head.grader, "stages": head.stages, "code-revision": self.code_revision,
            });
            let num_samples = samples.len();
            let epochs = num_samples / ids.len().max(1);
            let metric = json!({ "name": "mean", "value": mean(scores.into_iter()), "params": {} });
            let metrics =
                if metric["value"].is_null() { json!({}) } else { json!({ "mean": metric }) };
            let log = EvalLog {
                version: 2,
                status: "success",
                eval: json!({
                    "eval_id": id, "run_id": id, "task_id": id, "created": NO_TIME, "task": task,
                    "task_version": 0, "task_attribs": {}, "task_args": {},
                    "dataset": {
                        "name": benchmark, "samples": ids.len(), "sample_ids": ids, "shuffled": false,
                    },
                    "model": head.model, "model_args": {}, "config": { "epochs": epochs },
                    "packages": {}, "metadata": metadata,
                }),
                plan: json!({ "name": "plan", "steps": [], "config": {} }),
                results: json!({
                    "total_samples": num_samples, "completed_samples": num_samples,
                    "scores": [{
                        "name": "score", "scorer": head.grader, "params": {}, "metrics": metrics,
                    }],
                }),
                stats: json!({ "started_at": NO_TIME, "completed_at": NO_TIME, "model_usage": {} }),
                samples,
            };
            // Inspect lists files whose names start with a time.
            let file = format!("{benchmark}-{}-seed-{}-{name}_{id}.json", head.label, head.seed);
            let file = format!("{FILE_TIME}_{file}");
            let text = serde_json::to_string(&log).expect("a log is plain data");
            write_file(&self.folder.join(file_name(&file)), &text, self.files)?;
        }
        Ok(())
    }
}

impl Visitor for Logs<'_> {
    fn start(&mut self, head: &SetHead, _: usize) -> Result<(), Error> {
        self.write()?;
        if head.is_evaluation() {
            let names = head.estimates.iter().map(|part| part.name.clone());
            let names = std::iter::once("rollouts".to_owned()).chain(names);
            let log = |name| Log { name, samples: Vec::new(), scores: Vec::new() };
            self.logs = names.map(log).collect();
            self.head = Some(head.clone());
        }
        Ok(())
    }

    fn texts(&mut self, _: Option<u64>) -> &mut Texts {
        self.texts.clear();
        &mut self.texts
    }

    fn add(&mut self, met: &Met<'_>) -> Result<(), Error> {
        let Some(head) = &self.head else { return Ok(()) };
        let (view, texts) = (met.view, &self.texts);
        let [rollouts, estimates @ ..] = self.logs.as_mut_slice() else { return Ok(()) };
        for (i, rollout) in view.rollouts.iter().enumerate() {
            let stop_reason = match rollout.finish {
                "max-new-tokens" | "context-full" => "max_tokens",
                "refused" => "content_filter",
                "end-token" | "stop-string" => "stop",
                _ => "unknown",
            };
            let scored = Scored {
                epoch: i + 1,
                text: texts.get(rollout.text),
                answer: rollout.answer.as_deref(),
                score: rollout.score,
                reason: &rollout.reason,
                stop_reason,
                metadata: json!({
                    "key": rollout.key, "tokens": rollout.num_tokens, "logprob": rollout.logprob,
                }),
            };
            rollouts.samples.push(sample(met, &head.model, &scored));
            rollouts.scores.push(rollout.score);
        }
        for (log, estimate) in estimates.iter_mut().zip(&view.estimates) {
            let Some(estimate) = estimate else { continue };
            let chosen = estimate.rollout.and_then(|i| view.rollouts.get(i as usize));
            let text = estimate.text.or(chosen.map(|rollout| rollout.text));
            let scored = Scored {
                epoch: 1,
                text: text.map_or("", |text| texts.get(text)),
                answer: estimate.answer.as_deref(),
                score: estimate.score,
                reason: &estimate.reason,
                stop_reason: "stop",
                metadata: json!({
                    "key": view.key, "origin": estimate.origin, "measures": estimate.measures,
                }),
            };
            log.samples.push(sample(met, &head.model, &scored));
            log.scores.push(estimate.score);
        }
        Ok(())
    }
}

/// Writes the evaluations of the plan with digest `plan` as Inspect logs into `folder`.
///
/// # Errors
///
/// [`Error::Incomplete`] if records are missing; errors of reading and writing.
pub fn write_inspect_logs(
    store: &Store,
    plan: &Digest,
    folder: &Path,
) -> Result<Vec<PathBuf>, Error> {
    let evidence = Evidence::load(store, plan)?;
    let mut files = Vec::new();
    for (benchmark, _) in benchmarks(&evidence) {
        let mut logs = Logs {
            experiment: &evidence.plan.experiment,
            code_revision: &evidence.plan.code_revision,
            benchmark: benchmark.to_owned(),
            folder,
            files: &mut files,
            texts: Texts::default(),
            head: None,
            logs: Vec::new(),
        };
        walk(store, &evidence, benchmark, &mut logs)?;
        logs.write()?;
    }
    Ok(files)
}
