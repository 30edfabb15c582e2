//! Scrambling every label changes nothing that sees none.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::{AggregateRecord, RewardRecord, RolloutRecord};
use preceptor_experiment::Plan;

use crate::workspace::Workspace;

const MANIFEST: &str = r#"
title = "firewall"
seeds = [0, 1]
[policy]
model = "scripted"
[benchmark]
kind = "jsonl"
path = "PATH"
[sampling]
group-size = 5
[judge]
model = "judge"
[matrix]
"aggregator.kind" = [
    "single", "majority", "weighted-majority", "min-ppl", "mutual-predictability", "self-bon", "judge-bon",
    "medoid", "synthesis", "oracle",
]
[[matrix.reward]]
name = "blind"
terms = [
    { kind = "answer-match" }, { kind = "rubric" }, { kind = "rubric-from-question" },
    { kind = "rubric-likert" }, { kind = "judge" }, { kind = "judge-scalar" },
    { kind = "length-penalty" }, { kind = "format", weight = 0.5 }, { kind = "constant" },
    { kind = "random" },
]
[[matrix.reward]]
name = "truth"
terms = [{ kind = "ground-truth" }]
"#;

fn rows(label: impl Fn(usize) -> usize) -> String {
    (0..20)
        .map(|i| format!("{{\"problem\": \"question {i}\", \"answer\": {}}}\n", label(i)))
        .collect()
}

/// Estimates of a run under these labels: for each stage that sees no labels, its records.
fn run(label: impl Fn(usize) -> usize) -> (Plan, BTreeMap<Digest, String>) {
    let mut workspace = Workspace::new();
    let data = workspace.write("rows.jsonl", &rows(label));
    let manifest = MANIFEST.replace("PATH", &data.display().to_string());
    let manifest = workspace.write("firewall.toml", &manifest);
    let plan = workspace.plan(&manifest, &[]).expect("the manifest is right");
    workspace.run(&plan).expect("the run works");
    let store = workspace.store();
    let mut blind = BTreeMap::new();
    for cell in plan.record().cells {
        let stage = |digest: &Digest| store.stage_by_digest(digest);
        let rollouts = stage(&cell.stages.rollouts).load::<RolloutRecord>().expect("records");
        blind.insert(cell.stages.rollouts, format!("{:?}", rollouts.records));
        if !cell.sees_labels {
            let aggregates = stage(&cell.stages.aggregates).load::<AggregateRecord>();
            let aggregates = aggregates.expect("records").records;
            assert_eq!(aggregates.len(), 20);
            blind.insert(cell.stages.aggregates, format!("{aggregates:?}"));
        }
        let rewards = cell.stages.rewards.expect("every cell has a reward");
        if !cell.sees_labels && !cell.reward_sees_labels {
            let records = stage(&rewards).load::<RewardRecord>().expect("records").records;
            assert_eq!(records.len(), 20);
            blind.insert(rewards, format!("{records:?}"));
        }
    }
    (plan, blind)
}

#[test]
fn scrambled_labels_change_no_rollout_no_pseudo_reference_no_reward_and_no_key() {
    let (plan, blind) = run(|i| i % 4);
    let (scrambled_plan, scrambled_blind) = run(|i| (i * 7 + 3) % 4);
    assert_eq!(blind, scrambled_blind);
    // For each seed: rollouts, nine aggregators, their rewards.
    assert_eq!(blind.len(), 2 * (1 + 9 + 9));
    let (cells, scrambled_cells) = (plan.record().cells, scrambled_plan.record().cells);
    for (cell, scrambled) in cells.iter().zip(&scrambled_cells) {
        // What is measured against labels does change.
        assert_ne!(cell.stages.grades, scrambled.stages.grades);
        assert_eq!(cell.sees_labels, cell.stages.aggregates != scrambled.stages.aggregates);
        if cell.reward_sees_labels {
            assert_ne!(cell.stages.rewards, scrambled.stages.rewards);
        } else if !cell.sees_labels {
            assert_eq!(cell.stages.rewards, scrambled.stages.rewards);
        }
    }
}
