//! Strict HealthBench scores of recorded verdicts, against an independent calculation (`generate.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use preceptor_benchmarks::healthbench::{Config, Split};
use preceptor_benchmarks::healthbench_strict::{Graded, of_verdicts};
use preceptor_benchmarks::{Benchmark, Data, PhysicianRubric};
use preceptor_core::{Evidence, JudgeFailure, Judged, Usage, Verdict};
use preceptor_stats::{CheckedItem, CheckedResponse, resample, rubric_scores};
use serde::Deserialize;
use serde_json::json;

/// Sums of at most a thousand numbers of size 1, in another order.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Fixture {
    examples: Vec<Example>,
    seeds: Vec<u64>,
    resamples_of_overall_score: Vec<Vec<usize>>,
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Example {
    prompt_id: String,
    example_tags: Vec<String>,
    items: Vec<Item>,
    score: Option<f64>,
}

#[derive(Deserialize)]
struct Item {
    points: f64,
    tags: Vec<String>,
    met: Option<bool>,
}

#[derive(Deserialize)]
struct Metric {
    mean: f64,
    bootstrap_std: f64,
    num_examples: usize,
    num_unscored: usize,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("expected.json")).expect("the generator's form")
}

/// The examples with their labels, read from rows of the published schema.
fn labelled(examples: &[Example]) -> Vec<(&Example, PhysicianRubric)> {
    let row = |example: &Example| {
        let item =
            |item: &Item| json!({"criterion": "c", "points": item.points, "tags": item.tags});
        let row = json!({
            "prompt_id": example.prompt_id,
            "prompt": [{"role": "user", "content": "Q"}],
            "example_tags": example.example_tags,
            "rubrics": example.items.iter().map(item).collect::<Vec<_>>(),
        });
        row.to_string()
    };
    let rows: Vec<String> = examples.iter().map(row).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, rows.join("\n")).expect("writable");
    let config = Config { split: Split::All, ..Config::default() };
    let data = Data { path, is_published: false };
    let tasks = config.load(Some(&data), None).expect("rows of the schema").tasks;
    // A task set has an order of its own.
    let label = |example: &Example| {
        let id = format!("healthbench/{}", example.prompt_id);
        let task = tasks.iter().find(|task| task.prompt.id.as_str() == id).expect("its task");
        task.label.rubric().expect("a rubric").clone()
    };
    examples.iter().map(|example| (example, label(example))).collect()
}

fn graded(example: &Example, rubric: &PhysicianRubric) -> Graded {
    let criteria = rubric.rubric.criteria.iter().cloned();
    let judged = criteria.zip(&example.items).map(|(criterion, item)| {
        let answer = item.met.map_or(Verdict::Failed(JudgeFailure::Unreadable), Verdict::of);
        let evidence = Evidence { reply: String::new(), num_attempts: 1, margin: None };
        (criterion, Judged { answer, evidence, usage: Usage::default() })
    });
    of_verdicts(judged.collect())
}

fn checked(graded: &Graded, tags: &BTreeSet<String>) -> CheckedResponse {
    let items = graded.judged.iter().map(|(criterion, judged)| CheckedItem {
        points: criterion.points,
        met: judged.answer.met(),
        tags: criterion.tags.clone(),
    });
    CheckedResponse { items: items.collect(), tags: tags.clone() }
}

#[track_caller]
fn close(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= TOLERANCE, "{what}: {ours} is not {theirs}");
}

#[test]
fn scores_of_examples_are_those_of_the_independent_calculation() {
    let Fixture { examples, .. } = fixture();
    for (example, label) in labelled(&examples) {
        let score = graded(example, &label).score;
        assert_eq!(score.is_some(), example.score.is_some(), "{}", example.prompt_id);
        if let (Some(ours), Some(theirs)) = (score, example.score) {
            close(&example.prompt_id, ours, theirs);
        }
    }
}

#[test]
fn metrics_and_their_bootstrap_are_those_of_the_independent_calculation() {
    let Fixture { examples, seeds, metrics, .. } = fixture();
    let response = |(example, label): &(&Example, PhysicianRubric)| {
        checked(&graded(example, label), &label.example_tags)
    };
    let responses: Vec<_> = labelled(&examples).iter().map(response).collect();
    let ours = rubric_scores(&responses, &seeds);
    assert_eq!(ours.keys().collect::<Vec<_>>(), metrics.keys().collect::<Vec<_>>());
    for (name, theirs) in &metrics {
        let ours = &ours[name];
        close(name, ours.mean, theirs.mean);
        close(&format!("bootstrap of {name}"), ours.bootstrap_std, theirs.bootstrap_std);
        let counts = (ours.num_examples, ours.num_unscored);
        assert_eq!(counts, (theirs.num_examples, theirs.num_unscored), "{name}");
    }
}

#[test]
fn resamples_are_those_of_the_seed_list() {
    let Fixture { seeds, resamples_of_overall_score, .. } = fixture();
    for (seed, rows) in seeds.into_iter().zip(resamples_of_overall_score) {
        assert_eq!(resample(rows.len(), seed).collect::<Vec<_>>(), rows);
    }
}
