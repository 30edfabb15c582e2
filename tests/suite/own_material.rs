//! The user's own prompts, problems and rubrics, and models that think first.

use preceptor_core::record::{AggregateRecord, RolloutRecord};

use crate::workspace::{THOUGHT, Workspace};

const ROWS: &str = "{\"problem\": \"1 + 1?\", \"answer\": \"2\"}\n\
                    {\"problem\": \"1 + 2?\", \"answer\": \"3\"}\n";

/// Returns a manifest with problems of its own, written into `workspace`.
fn manifest(workspace: &Workspace, benchmark: &str) -> String {
    let rows = workspace.write("rows.jsonl", ROWS);
    format!(
        "title = \"t\"\n[policy]\nmodel = \"m\"\n[benchmark]\nkind = \"jsonl\"\npath = {rows:?}\n{benchmark}\n\
         [sampling]\ngroup-size = 2\n[aggregator]\nkind = \"synthesis\"\n"
    )
}

#[test]
fn thoughts_are_stored_and_reach_no_other_model() {
    let mut workspace = Workspace::new();
    workspace.host.can_think = true;
    let text = manifest(&workspace, "");
    let path = workspace.write("m.toml", &text);
    let off = workspace.plan(&path, &[]).expect("a plan");
    let said_off = workspace.plan(&path, &["policy.thinking=off"]).expect("a plan");
    let on = workspace.plan(&path, &["policy.thinking=on"]).expect("a plan");
    let stages = |plan: &preceptor_experiment::Plan| {
        plan.record().cells.iter().map(|cell| cell.stages.rollouts.clone()).collect::<Vec<_>>()
    };
    assert_eq!(stages(&off), stages(&said_off));
    assert_ne!(stages(&off), stages(&on));
    let summary = workspace.run(&on).expect("it runs");
    assert_eq!(summary.num_failed, 0);
    let cell = &on.record().cells[0];
    let store = workspace.store();
    let rollouts = store.stage_by_digest(&cell.stages.rollouts).load::<RolloutRecord>();
    let rollouts = rollouts.expect("records").records;
    assert_eq!(rollouts.len(), 4);
    assert!(rollouts.values().all(|record| record.rollout.text.contains(THOUGHT)));
    // `ScriptedHost` refuses a prompt with a thought in it.
    let aggregates = store.stage_by_digest(&cell.stages.aggregates).load::<AggregateRecord>();
    assert_eq!(aggregates.expect("records").records.len(), 2);
}

#[test]
fn thinking_and_wording_that_can_not_be_are_refused() {
    let mut workspace = Workspace::new();
    let question = workspace.write("question.md", "Answer briefly.\n");
    let mut refused = |benchmark: &str, settings: &[&str]| {
        let text = manifest(&workspace, benchmark);
        let path = workspace.write("m.toml", &text);
        let error = workspace.plan(&path, settings).expect_err("refused").to_string();
        error.replace(&workspace.path("").display().to_string(), "[dir]/")
    };
    let messages = [
        refused("", &["policy.thinking=on"]),
        refused("", &["policy.thinking=maybe"]),
        refused(&format!("question-prompt-file = {question:?}"), &[]),
        refused("question-prompt-file = \"none.md\"", &[]),
        refused("shots = 2\nsystem-prompt = \"Be brief.\"", &[]),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn the_users_words_are_asked_and_make_other_rollouts() {
    let mut workspace = Workspace::new();
    let question = workspace.write("question.md", "Q: {{question}}\nA:");
    let plain = manifest(&workspace, "");
    let plain = workspace.write("plain.toml", &plain);
    let worded = format!("system-prompt = \"Be brief.\"\nquestion-prompt-file = {question:?}");
    let worded = manifest(&workspace, &worded);
    let worded = workspace.write("worded.toml", &worded);
    let (plain, worded) = (workspace.plan(&plain, &[]), workspace.plan(&worded, &[]));
    let (plain, worded) = (plain.expect("a plan").record(), worded.expect("a plan").record());
    assert_ne!(plain.cells[0].stages.rollouts, worded.cells[0].stages.rollouts);
    let settings = &worded.cells[0].settings;
    assert!(settings.contains("Q: {{question}}"), "{settings}");
    assert!(settings.contains("system-prompt = \"Be brief.\""), "{settings}");
}
