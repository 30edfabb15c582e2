//! Training runs whose calls fail: what is reported after a rerun is what an undisturbed run reports.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use preceptor_testkit::server::{Act, Received, Server, error, says};
use serde_json::{Value, json};

use crate::process::{Finished, Folder, TINY_MODEL};

/// Rubric rewards and early stopping, with the anchor and all judges behind `server`.
fn write_manifest(folder: &Folder, server: &Server) {
    let row = |i: usize| {
        let item = |text: &str, points: i32| json!({"criterion": format!("{text} {i}"), "points": points, "tags": []});
        let row = json!({
            "prompt_id": format!("p{i}"),
            "prompt": [{"role": "user", "content": format!("case {i}")}],
            "example_tags": [],
            "rubrics": [item("names the dose for", 5), item("asks back about", 3)],
        });
        format!("{row}\n")
    };
    folder.write_data("healthbench-hard50", &(0..12).map(row).collect::<String>());
    let manifest = format!(
        r#"title = "Judged training"
[endpoints.remote]
base-urls = ["{}"]
model = "remote"
max-retries = 0
concurrency = 1
[policy]
model = "{TINY_MODEL}"
[benchmark]
kind = "healthbench"
set = "hard50"
split = "all"
limit = 4
[held-out]
skip = 4
limit = 2
[validation]
skip = 6
limit = 4
[sampling]
group-size = 3
max-new-tokens = 6
[aggregator]
kind = "synthesis"
[anchor]
model = "remote"
[judge]
model = "remote"
style = "yes-no"
attempts = 1
[eval-judge]
model = "remote"
[reward]
terms = [{{ kind = "rubric", attempts = 1 }}]
[train]
kind = "grpo"
steps = 8
prompts-per-step = 2
evaluate-every = 2
checkpoint-every = 4
[train.early-stopping]
patience = 2
[train.schedule]
learning-rate = 1e-2
"#,
        server.url()
    );
    folder.write("judged.toml", &manifest);
}

/// A number from 0 to 99 that follows from a text.
fn number(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    (text.bytes().fold(0xcbf2_9ce4_8422_2325, mix) >> 17) % 100
}

/// The reply of anchor and judges, a function of the question.
fn answer(received: &Received) -> Act {
    let asked = received.asked();
    let number = number(asked);
    if asked.contains("criteria_met") {
        says(&format!("{{\"explanation\": \"\", \"criteria_met\": {}}}", number < 50))
    } else if asked.contains("<rubric>") {
        let criterion = |i: u64| format!("<criterion>point {i} of {number}</criterion>");
        says(&format!("<rubric>{}</rubric>", (0..5).map(criterion).collect::<String>()))
    } else if asked.contains("## Merged response") {
        says(&format!("## Merged response\n\nTake {number} drops."))
    } else {
        says(if number < 50 { "yes" } else { "no" })
    }
}

fn run(folder: &Folder) -> Finished {
    let mut command = folder.command(&["run", "judged.toml", "--json"]);
    folder.finish(command.env("PRECEPTOR_DATA_DIR", folder.path("data")))
}

fn num_steps(finished: &Finished) -> u64 {
    let summary: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    summary["training-steps"].as_u64().expect("a number")
}

/// Every table but those of seconds.
fn tables(folder: &Folder) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder.path("reports/judged/tables")).expect("a report");
    let files = entries.map(|entry| entry.expect("readable").path());
    let tables = files.filter(|path| path.extension().is_some_and(|ending| ending == "csv"));
    let named = tables.map(|path| {
        let name = path.file_name().expect("named").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("readable"))
    });
    let has_seconds = [
        "cost_and_quality.csv",
        "costs.csv",
        "metrics.csv",
        "rollouts.csv",
        "spending.csv",
        "training_costs.csv",
    ];
    named.filter(|(name, _)| !has_seconds.contains(&name.as_str())).collect()
}

#[test]
fn after_any_failed_call_a_rerun_reports_what_an_undisturbed_run_reports() {
    let undisturbed = Folder::new();
    let server = Server::start(answer);
    write_manifest(&undisturbed, &server);
    let done = run(&undisturbed).expect_done();
    let expected = tables(&undisturbed);
    let all_steps = num_steps(&done);
    assert!((2..8).contains(&all_steps), "early stopping ends it: {all_steps}");
    let chosen = &expected["training_scores.csv"];
    assert!(chosen.lines().count() > 3, "{chosen}");

    let num_calls = server.received().len();
    let mut num_halted = 0;
    for part in 0..9 {
        let failing = part * (num_calls - 1) / 8;
        let folder = Folder::new();
        let is_disturbed = Arc::new(Mutex::new(None::<String>));
        let num_arrived = Arc::new(AtomicUsize::new(0));
        let (text, arrived) = (Arc::clone(&is_disturbed), Arc::clone(&num_arrived));
        let server = Server::start(move |received| {
            let mut text = text.lock().expect("no thread panics");
            if arrived.fetch_add(1, Ordering::SeqCst) == failing {
                *text = Some(received.body.to_string());
            }
            // The call fails as often as it comes in.
            if text.as_deref() == Some(&received.body.to_string()) {
                error(500, "overloaded")
            } else {
                answer(received)
            }
        });
        write_manifest(&folder, &server);
        let first = run(&folder);
        assert_eq!(first.code, Some(1), "call {failing}: {}", first.said());
        assert!(fs::exists(folder.path("reports/judged/page.html")).expect("readable"));
        *is_disturbed.lock().expect("no thread panics") = None;
        let second = run(&folder).expect_done();
        num_halted += usize::from(num_steps(&second) > 0);
        let steps = num_steps(&first) + num_steps(&second);
        assert_eq!(steps, all_steps, "call {failing}: no step is trained twice");
        for (name, table) in tables(&folder) {
            assert_eq!(table, expected[&name], "call {failing}: {name}");
        }
        let third = run(&folder).expect_done();
        assert_eq!(num_steps(&third), 0);
    }
    assert!(num_halted > 2, "failures in steps and decisions halt the training run");
}
