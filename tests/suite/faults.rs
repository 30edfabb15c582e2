//! Runs whose judge fails in many ways.

use preceptor_core::record::{GradeRecord, RewardRecord};
use preceptor_core::{CallFailureKind, Digest, ModelRole, Prompt, RewardValue, Seed};

use crate::workspace::{Workspace, health_row};

const MANIFEST: &str = r#"
title = "faults"
[policy]
model = "scripted"
[benchmark]
kind = "arithmetic"
limit = 12
[sampling]
group-size = 4
[judge]
model = "judge"
[aggregator]
kind = "majority"
[reward]
terms = [{ kind = "rubric" }, { kind = "judge", weight = 0.5 }]
"#;

/// Three calls in ten, in every way a call can fail.
fn three_in_ten(_: &Prompt, seed: Seed) -> Option<CallFailureKind> {
    let kinds = [
        CallFailureKind::RateLimited,
        CallFailureKind::ServerError,
        CallFailureKind::Timeout,
        CallFailureKind::Connection,
        CallFailureKind::BadReply,
    ];
    let fails = seed.derive("fails").draw_below(10) < 3;
    fails.then(|| kinds[seed.derive("how").draw_below(kinds.len() as u64) as usize])
}

#[test]
fn a_run_goes_on_and_the_next_one_asks_only_for_what_failed() {
    let mut workspace = Workspace::new();
    let manifest = workspace.write("faults.toml", MANIFEST);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    let stage: Digest = plan.record().cells[0].stages.rewards.clone().unwrap();

    workspace.host.failing = Some(three_in_ten);
    let first = workspace.run(&plan).unwrap();
    let judge = &first.roles[&ModelRole::Judge];
    let num_failed: u64 = judge.failures.values().sum();
    let num_asked = judge.num_calls + num_failed;
    assert!(judge.failures.len() >= 4, "mixed ways: {:?}", judge.failures);
    assert!(
        (0.2..0.4).contains(&(num_failed as f64 / num_asked as f64)),
        "{num_failed}/{num_asked}"
    );
    // No group with a failed verdict has rewards, and each of them is noted.
    let store = workspace.store();
    let stage = store.stage_by_digest(&stage);
    let records = stage.load::<RewardRecord>().unwrap().records;
    assert_eq!(records.len() as u64 + first.num_failed, 12);
    assert_eq!(stage.failures().unwrap().len() as u64, first.num_failed);
    assert!(first.num_failed > 0);
    for record in records.values() {
        let rewarded = |value: &RewardValue| matches!(value, RewardValue::Rewarded(_));
        assert!(record.group.rewards.iter().all(|reward| rewarded(&reward.value)));
    }

    workspace.host.failing = None;
    let second = workspace.run(&plan).unwrap();
    assert_eq!(second.num_failed, 0);
    assert_eq!(
        second.roles[&ModelRole::Judge].num_calls,
        num_failed,
        "only what failed is asked again"
    );
    assert_eq!(stage.load::<RewardRecord>().unwrap().records.len(), 12);
    assert!(stage.failures().unwrap().is_empty());

    // The same as if nothing had ever failed.
    let mut undisturbed = Workspace::new();
    let manifest = undisturbed.write("faults.toml", MANIFEST);
    let plan = undisturbed.plan(&manifest, &[]).unwrap();
    undisturbed.run(&plan).unwrap();
    let rewards = |workspace: &Workspace| {
        let stage = workspace.store().stage_by_digest(stage.digest());
        stage.load::<RewardRecord>().unwrap().records
    };
    assert_eq!(rewards(&workspace), rewards(&undisturbed));
}

const HEALTH: &str = r#"
title = "health"
[policy]
model = "scripted"
[benchmark]
kind = "healthbench"
set = "hard50"
split = "all"
[sampling]
group-size = 2
[eval-judge]
model = "judge"
[aggregator]
kind = "synthesis"
"#;

#[test]
fn an_example_with_a_failed_verdict_has_no_score_until_it_is_asked_again() {
    let mut workspace = Workspace::new();
    let rows: String = (0..8).map(|i| health_row(&format!("p{i}"), i)).collect();
    workspace.write("data/healthbench/hard_random50.jsonl", &rows);
    let manifest = workspace.write("health.toml", HEALTH);
    let error = workspace.plan(&manifest, &[]).unwrap_err().to_string();
    assert!(error.contains("hard_random50.jsonl"), "held to the published digest: {error}");

    workspace.register_data("healthbench-hard50", "healthbench/mine.jsonl");
    workspace.write("data/healthbench/mine.jsonl", &rows);
    let plan = workspace.plan(&manifest, &[]).unwrap();
    let grades = plan.record().cells[0].stages.grades.clone();
    workspace.host.failing = Some(three_in_ten);
    let first = workspace.run(&plan).unwrap();
    assert!(first.num_failed > 0);
    let load = |workspace: &Workspace| {
        workspace.store().stage_by_digest(&grades).load::<GradeRecord>().unwrap().records
    };
    assert!(load(&workspace).len() < 8);
    for grade in load(&workspace).values() {
        let score = grade.score.value().expect("every recorded grade is whole");
        assert!((-0.5..=1.0).contains(&score), "{score}");
        assert_eq!(grade.judged.len(), 3);
    }
    workspace.host.failing = None;
    let failed: u64 = first.roles[&ModelRole::EvalJudge].failures.values().sum();
    let second = workspace.run(&plan).unwrap();
    assert_eq!(second.roles[&ModelRole::EvalJudge].num_calls, failed);
    assert_eq!(load(&workspace).len(), 8);
}
