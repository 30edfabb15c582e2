//! Scrambling every label changes nothing that sees none.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::{AggregateRecord, RolloutRecord};
use preceptor_experiment::Plan;

use crate::laboratory::Laboratory;

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
[matrix]
"aggregator.kind" = ["single", "majority", "oracle"]
"#;

fn rows(label: impl Fn(usize) -> usize) -> String {
    (0..20)
        .map(|i| format!("{{\"problem\": \"question {i}\", \"answer\": {}}}\n", label(i)))
        .collect()
}

/// What a run under these labels estimates: for each stage that sees no labels, its records.
fn run(label: impl Fn(usize) -> usize) -> (Plan, BTreeMap<Digest, String>) {
    let mut laboratory = Laboratory::new();
    let data = laboratory.write("rows.jsonl", &rows(label));
    let manifest = MANIFEST.replace("PATH", &data.display().to_string());
    let manifest = laboratory.write("firewall.toml", &manifest);
    let plan = laboratory.plan(&manifest, &[]).expect("the manifest is right");
    laboratory.run(&plan).expect("the run works");
    let store = laboratory.store();
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
    }
    (plan, blind)
}

#[test]
fn scrambled_labels_change_no_rollout_no_pseudo_reference_and_no_key() {
    let (plan, blind) = run(|i| i % 4);
    let (scrambled_plan, scrambled_blind) = run(|i| (i * 7 + 3) % 4);
    assert_eq!(blind, scrambled_blind);
    assert_eq!(blind.len(), 2 + 2 * 2);
    let (cells, scrambled_cells) = (plan.record().cells, scrambled_plan.record().cells);
    for (cell, scrambled) in cells.iter().zip(&scrambled_cells) {
        // What is measured against labels does change.
        assert_ne!(cell.stages.grades, scrambled.stages.grades);
        assert_eq!(cell.sees_labels, cell.stages.aggregates != scrambled.stages.aggregates);
    }
}
