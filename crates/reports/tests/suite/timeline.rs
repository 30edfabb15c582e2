//! The timeline of a step: who works when, and who waits for whom.

use std::collections::BTreeMap;

use preceptor_core::record::{RolloutServerRecord, TimelineRecord, TrainCostRecord, step_key};

use crate::trained;

const SERVERS: [&str; 2] = ["http://node1:8000", "http://node2:8000"];

/// A step in which the first group is rewarded while the second server samples.
fn cost(step: u64, length: f64) -> TrainCostRecord {
    let span = |actor: &str, phase: &str, from: f64, to: f64| TimelineRecord {
        actor: actor.to_owned(),
        phase: phase.to_owned(),
        from: from * length,
        to: to * length,
    };
    TrainCostRecord {
        step,
        servers: SERVERS.map(|url| (url.to_owned(), RolloutServerRecord::default())).into(),
        timeline: vec![
            span("trainer", "publish", 0.0, 0.05),
            span("trainer", "reward", 0.3, 0.4),
            span("trainer", "reward", 0.6, 0.65),
            span("trainer", "update", 0.65, 0.999),
            span("trainer", "record", 0.999, 1.0),
            span(SERVERS[0], "rollouts", 0.05, 0.3),
            span(SERVERS[1], "rollouts", 0.05, 0.6),
        ],
        ..TrainCostRecord::default()
    }
}

#[test]
fn the_step_of_median_duration_is_drawn() {
    let bench = trained::bench([1, 1], None);
    let costs = [(1, 4.0), (2, 90.0), (3, 60.0)].map(|(step, length)| cost(step, length));
    let costs = costs.map(|cost| (step_key(cost.step), cost));
    let stage = bench.stage("train-costs", "timeline", &costs);
    bench.change(|cell| {
        cell.training.as_mut().expect("trained").costs = stage.clone();
    });
    bench.report(&["reward"]).unwrap();
    let at = |key: &str| {
        let of = [("actor", SERVERS[1]), ("reward", "answer-match")];
        bench.cell("step_timeline", &of, key)
    };
    assert_eq!([at("step"), at("from_secs"), at("to_secs")], ["3", "3.0", "36.0"]);
    let figure = bench.read("figures/step-timeline.svg");
    for text in [
        "Who waits for whom in the 60 s of a training step?",
        "node2:8000: rollouts",
        "trainer: reward",
        "step 3, of median duration, of seed 0",
    ] {
        assert!(figure.contains(text), "{text}");
    }
    assert!(!figure.contains("trainer: record"), "too short to be seen");
}

#[test]
fn without_servers_there_is_no_timeline() {
    let bench = trained::bench([1, 1], None);
    let costs = [TrainCostRecord { servers: BTreeMap::new(), ..cost(1, 4.0) }];
    let costs = costs.map(|cost| (step_key(cost.step), cost));
    let stage = bench.stage("train-costs", "timeline", &costs);
    bench.change(|cell| {
        cell.training.as_mut().expect("trained").costs = stage.clone();
    });
    bench.report(&["reward"]).unwrap();
    assert!(!bench.path("figures/step-timeline.svg").exists());
}
