//! `run --watch` and `report --watch`: a run in progress, shown by its own process and by another one.

use std::fs;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use preceptor_testkit::server::Server;
use serde_json::Value;

use crate::process::Folder;
use crate::scripted::{answer, json, model, write_two_policies};
use crate::training::write_manifest as write_training;

/// The scripted policies. `first` answers question 2 only once the gate is open.
fn start() -> (Server, Arc<AtomicBool>) {
    let is_open = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let is_open = Arc::clone(&is_open);
        move |received| {
            let waits = model(received) == "first" && received.asked().contains("question 2");
            while waits && !is_open.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(20));
            }
            answer(received)
        }
    });
    (server, is_open)
}

/// Waits until `is_so`, for a minute.
#[expect(clippy::disallowed_methods, reason = "a test that hangs must end")]
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} took too long");
        thread::sleep(Duration::from_millis(20));
    }
}

fn page(folder: &Folder) -> String {
    fs::read_to_string(folder.path("reports/two/page.html")).unwrap_or_default()
}

fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("a child").code()
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

#[test]
fn a_report_follows_a_run_of_another_process_and_ends_with_it() {
    let (server, gate) = start();
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    folder.run(&["run", "two.toml", "--only", "policy.model=second"]).expect_done();
    fs::remove_dir_all(folder.path("reports")).expect("a report");

    let run = folder.start(&["run", "two.toml", "--reports", "of-run"]);
    let watch = folder.start(&["report", "two.toml", "--watch", "--every", "1"]);
    wait_until("a partial page", || page(&folder).contains("Partial"));
    let partial = page(&folder);
    assert!(partial.contains("1 of 2 cells are."), "{partial}");
    assert!(partial.contains("the 4 of 8 groups whose records are all stored"), "{partial}");
    assert!(partial.contains("<meta http-equiv=\"refresh\" content=\"1\">"), "{partial}");
    assert!(partial.contains("this page reloads every second"), "{partial}");
    assert!(partial.contains("(partial)"), "{partial}");
    assert!(!folder.path("reports/two/explorer-private").exists());
    wait_until("the rest of it", || folder.path("reports/two/provenance.json").exists());
    let text = |name: &str| fs::read_to_string(folder.path(name)).expect("a file of the report");
    let provenance = json(&text("reports/two/provenance.json"));
    assert_eq!(provenance["partial"], true);
    assert_eq!(provenance["cells"].as_array().map(Vec::len), Some(1));
    assert!(text("reports/two/page.md").contains("**Partial: the run is not finished."));

    gate.store(true, Ordering::SeqCst);
    assert_eq!((code(run), code(watch)), (Some(0), Some(0)));
    assert_eq!(text("reports/two/page.html"), text("of-run/two/page.html"));
    assert_eq!(json(&text("reports/two/provenance.json"))["partial"], Value::Null);
    assert!(!page(&folder).contains("http-equiv=\"refresh\""));
    assert!(folder.path("reports/two/explorer-private").exists());
}

#[cfg(unix)]
#[test]
fn a_watched_report_of_no_records_ends_with_a_last_page() {
    let (server, _gate) = start();
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    let watch = folder.start(&["report", "two.toml", "--watch", "--every", "3600"]);
    wait_until("a partial page", || page(&folder).contains("content=\"3600\""));
    assert!(page(&folder).contains("the 0 of 8 groups"), "{}", page(&folder));
    interrupt(&watch);
    assert_eq!(code(watch), Some(0));
    let last = page(&folder);
    assert!(last.contains("Partial: the run was not finished. 0 of 2 cells are."), "{last}");
    assert!(!last.contains("http-equiv=\"refresh\"") && !last.contains("reloads"), "{last}");
}

#[test]
fn a_watched_run_prints_lines_where_there_is_no_terminal() {
    let (server, gate) = start();
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    let opener = thread::spawn(move || {
        thread::sleep(Duration::from_millis(2500));
        gate.store(true, Ordering::SeqCst);
    });
    let run = folder.run(&["--json", "run", "two.toml", "--watch", "--every", "1"]).expect_done();
    opener.join().expect("no panic");
    assert_eq!(json(&run.stdout)["rollouts-sampled"], 16);
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.contains("cells ")).collect();
    assert!(lines.len() >= 2, "{}", run.stderr);
    assert!(lines[0].contains("cells 0 done, 1 running, 1 waiting"), "{}", run.stderr);
    assert!(lines[0].contains(" tokens/s · 0 USD · 0 failures · about "), "{}", run.stderr);
    let last = lines.last().expect("a line");
    assert!(last.contains("cells 2 done, 0 running, 0 waiting"), "{}", run.stderr);
    assert!(last.ends_with(" USD · 0 failures"), "{}", run.stderr);
}

#[test]
fn an_interval_belongs_to_watch() {
    let folder = Folder::new();
    for command in ["run", "report"] {
        let refused = folder.run(&[command, "two.toml", "--every", "5"]);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains("--watch"), "{}", refused.said());
        let refused = folder.run(&[command, "two.toml", "--watch", "--every", "0"]);
        assert!(refused.stderr.contains("0 is not in 1..=86400"), "{}", refused.said());
    }
}

#[cfg(unix)]
#[test]
fn a_partial_report_shows_the_steps_of_a_training_run_that_was_killed() {
    let folder = Folder::new();
    write_training(&folder);
    let mut run = folder.start(&["run", "train.toml", "--set", "train.steps=2000"]);
    let checkpoint = |folder: &Folder| {
        let runs = fs::read_dir(folder.path("runs/tensorboard"));
        runs.is_ok_and(|mut runs| runs.next().is_some())
    };
    wait_until("a checkpoint", || checkpoint(&folder));
    run.kill().expect("a child");
    run.wait().expect("a child");
    let arguments = ["report", "train.toml", "--set", "train.steps=2000", "--watch"];
    let watch = folder.start(&arguments);
    let tables = folder.path("reports/train/tables");
    wait_until("the steps", || folder.path("reports/train/provenance.json").exists());
    interrupt(&watch);
    assert_eq!(code(watch), Some(0));
    let steps = fs::read_to_string(tables.join("training_steps.csv")).expect("a table");
    assert!(steps.lines().count() > 2, "{steps}");
    // There is no final policy yet.
    assert!(!tables.join("scores.csv").exists());
    let runs: Vec<_> = fs::read_dir(folder.path("runs/tensorboard")).expect("runs").collect();
    let name = runs[0].as_ref().expect("readable").file_name();
    assert!(name.to_string_lossy().starts_with("arithmetic_seed=0_"), "{name:?}");
}
