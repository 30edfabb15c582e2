//! The table `healthbench` from recorded verdicts, against the independent calculation that
//! `crates/benchmarks/tests/healthbench/generate.py` writes down.

use std::collections::BTreeMap;

use preceptor_core::record::{AnswerClassRecord, CellStages, GradeRecord, Score, rollout_key};
use preceptor_core::{Criterion, JudgeFailure, JudgedCriterion, Verdict};
use serde::Deserialize;

use crate::bench::{Bench, aggregate, cell, grade, id, key, prompt, rollout, verdict, written};

/// Sums of at most a thousand numbers of size 1, in another order.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Fixture {
    examples: Vec<Example>,
    metrics: BTreeMap<String, Metric>,
}

#[derive(Deserialize)]
struct Example {
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
    bootstrap_std_of_seeds_0_to_999: f64,
    num_examples: f64,
    num_unscored: f64,
}

fn graded(number: usize, example: &Example) -> GradeRecord {
    let judged = example.items.iter().map(|item| {
        let answer = item.met.map_or(Verdict::Failed(JudgeFailure::Refused), Verdict::of);
        let JudgedCriterion::Verdict { criterion, judged } =
            verdict("about it", item.points, "", answer)
        else {
            unreachable!("a verdict")
        };
        let tags = item.tags.iter().cloned().collect();
        JudgedCriterion::Verdict { criterion: Criterion { tags, ..criterion }, judged }
    });
    let score = match example.score {
        Some(score) => Score::Scored(score),
        None => Score::Unscored("a verdict failed: refused".to_owned()),
    };
    GradeRecord { label: String::new(), judged: judged.collect(), ..grade(number, score, None) }
}

/// A condition: every example with one rollout, which is also the pseudo-reference.
fn bench(examples: &[Example]) -> Bench {
    let bench = Bench::new();
    let numbered = || examples.iter().enumerate();
    let prompts: Vec<_> = numbered()
        .map(|(number, example)| {
            let (key, mut record) = prompt(number, "How?", ("theme", "none"));
            let tags = example.example_tags.iter().map(|tag| tag.split_once(':').expect("a pair"));
            record.tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (key, record)
        })
        .collect();
    let rollouts: Vec<_> = numbered().map(|(number, _)| rollout(number, 0, "So.")).collect();
    let classes =
        |(number, _)| (key(number), AnswerClassRecord { prompt: id(number), classes: vec![None] });
    let aggregates = |(number, _)| aggregate(number, written("So."));
    let grades: Vec<_> =
        numbered().map(|(number, example)| (key(number), graded(number, example))).collect();
    let rollout_grades: Vec<_> = numbered()
        .map(|(number, example)| (rollout_key(&id(number), 0), graded(number, example)))
        .collect();
    let stages = CellStages {
        prompts: bench.stage("prompts", "", &prompts),
        rollouts: bench.stage("rollouts", "", &rollouts),
        rollout_grades: bench.stage("rollout-grades", "", &rollout_grades),
        answer_classes: bench.stage(
            "answer-classes",
            "",
            &numbered().map(classes).collect::<Vec<_>>(),
        ),
        aggregates: bench.stage("aggregates", "", &numbered().map(aggregates).collect::<Vec<_>>()),
        grades: bench.stage("grades", "", &grades),
        rewards: None,
    };
    let mut cell = cell("healthbench", "synthesis", stages);
    cell.grader = "healthbench-strict-1".to_owned();
    cell.group_size = 1;
    cell.prompts = numbered().map(|(number, _)| id(number)).collect();
    bench.add(cell);
    bench.report(&[]).expect("a test's own data");
    bench
}

#[test]
fn every_metric_is_that_of_the_independent_calculation() {
    let text = include_str!("../../../benchmarks/tests/healthbench/expected.json");
    let Fixture { examples, metrics } = serde_json::from_str(text).expect("the generator's form");
    let bench = bench(&examples);
    assert_eq!(bench.read("tables/healthbench.csv").lines().count(), 1 + metrics.len());
    for (name, metric) in &metrics {
        for (column, expected) in [
            ("score", metric.mean),
            ("bootstrap_std", metric.bootstrap_std_of_seeds_0_to_999),
            ("examples", metric.num_examples),
            ("unscored", metric.num_unscored),
        ] {
            let found = bench.number("healthbench", &[("metric", name)], column);
            let difference = (found - expected).abs();
            assert!(difference <= TOLERANCE, "{name} {column}: {found} is not {expected}");
        }
    }
}
