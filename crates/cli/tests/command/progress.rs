//! Progress of a run: `status` and `report` with records that are missing or could not be made.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use preceptor_testkit::server::{Server, error};
use serde_json::{Value, json};

use crate::process::Folder;
use crate::scripted::{answer, json, model, write_two_policies};

/// The scripted policies, one of which is out of order on question 2 until it is mended.
fn start() -> (Server, Arc<AtomicBool>) {
    let is_mended = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let is_mended = Arc::clone(&is_mended);
        move |received| {
            let breaks = model(received) == "first" && received.asked().contains("question 2");
            if breaks && !is_mended.load(Ordering::SeqCst) {
                error(400, "out of order")
            } else {
                answer(received)
            }
        }
    });
    (server, is_mended)
}

fn status(folder: &Folder) -> Value {
    json(&folder.run(&["--json", "status", "two.toml"]).expect_done().stdout)
}

fn counts(status: &Value) -> [u64; 4] {
    ["done", "failed", "partial", "missing"].map(|key| status[key].as_u64().expect("a count"))
}

#[test]
fn a_cell_with_noted_failures_is_failed_and_can_be_reported() {
    let (server, is_mended) = start();
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    assert_eq!(counts(&status(&folder)), [0, 0, 0, 2]);
    folder.run(&["run", "two.toml", "--only", "policy.model=second"]).expect_done();
    assert_eq!(counts(&status(&folder)), [1, 0, 0, 1]);
    let refused = folder.run(&["report", "two.toml"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("1 of 2 cells are not finished"), "{}", refused.said());

    let run = folder.run(&["run", "two.toml"]);
    assert_eq!(run.code, Some(1), "{}", run.said());
    let page = fs::read(folder.path("reports/two/page.html")).unwrap();
    let found = status(&folder);
    assert_eq!(counts(&found), [1, 1, 0, 0]);
    // Two rollouts, and what is made of their group: classes, aggregate, grade, rewards.
    assert_eq!(found["cells"][0]["failed-records"], 6);
    assert_eq!(found["cells"][0]["rollouts"], json!({"present": 6, "wanted": 8}));
    assert_eq!(found["cells"][0]["rewards"], json!({"present": 3, "wanted": 4}));
    assert_eq!(found["cells"][1]["failed-records"], 0);
    insta::assert_snapshot!(
        "status-with-failures",
        folder.run(&["status", "two.toml"]).expect_done().stdout
    );
    insta::assert_snapshot!("report-with-failures", folder.run(&["report", "two.toml"]).said());
    assert_eq!(fs::read(folder.path("reports/two/page.html")).unwrap(), page);

    is_mended.store(true, Ordering::SeqCst);
    folder.run(&["run", "two.toml"]).expect_done();
    assert_eq!(counts(&status(&folder)), [2, 0, 0, 0]);
    folder.run(&["report", "two.toml"]).expect_done();
}

#[test]
fn a_cell_without_its_rewards_is_not_done() {
    let (server, is_mended) = start();
    is_mended.store(true, Ordering::SeqCst);
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    folder.run(&["run", "two.toml"]).expect_done();
    let plan = json(&folder.run(&["--json", "plan", "two.toml"]).expect_done().stdout);
    let rewards = plan["cells"][0]["stages"]["rewards"].as_str().expect("a digest");
    fs::remove_dir_all(folder.path("runs/stages").join(rewards)).expect("a stage");
    let found = status(&folder);
    assert_eq!(counts(&found), [1, 0, 1, 0]);
    assert_eq!(found["cells"][0]["rewards"], json!({"present": 0, "wanted": 4}));
    assert_eq!(folder.run(&["report", "two.toml"]).code, Some(2));
}
