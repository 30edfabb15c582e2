//! Several processes over one store: who works on a cell, and what happens when that process stops.
//!
//! Hosts without common locks are played by processes that use none, in namespaces with names of their
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use preceptor_testkit::server::Server;
use serde_json::Value;

use crate::process::{Finished, Folder, num_lines};
use crate::scripted::{answer, json, write_two_policies};
use crate::training;

pub(crate) fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success(), "{signal} {pid}");
}

/// Starts a command whose output is kept.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
}

pub(crate) fn finish(child: Child) -> Finished {
    let output = child.wait_with_output().expect("a child");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Finished { code: output.status.code(), stdout, stderr }
}

#[track_caller]
pub(crate) fn wait_until(is_there: impl Fn() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a test that hangs should fail")]
    let started = Instant::now();
    while !is_there() {
        assert!(started.elapsed() < Duration::from_secs(120), "it never happens");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Records of a store by stage, compacted or not, each line once.
fn lines(folder: &Folder, store: &str) -> BTreeMap<String, BTreeSet<String>> {
    let stages = fs::read_dir(folder.path(store).join("stages")).expect("a store");
    let of_stage = |stage: fs::DirEntry| {
        let mut lines = BTreeSet::new();
        for file in fs::read_dir(stage.path()).expect("a stage") {
            let path = file.expect("readable").path();
            let name = path.file_name().expect("named").to_string_lossy().into_owned();
            let bytes = fs::read(&path).expect("readable");
            let text = match name.as_str() {
                "records.jsonl.zst" => zstd::decode_all(bytes.as_slice()).expect("whole"),
                name if name.starts_with("part-") => bytes,
                _ => continue,
            };
            lines.extend(String::from_utf8(text).expect("text").lines().map(str::to_owned));
        }
        (stage.file_name().to_string_lossy().into_owned(), lines)
    };
    stages.map(|stage| of_stage(stage.expect("readable"))).collect()
}

/// Rollouts in the parts of a store.
fn num_rollouts(folder: &Folder, store: &str) -> u64 {
    let stages = fs::read_dir(folder.path(store).join("stages")).into_iter().flatten().flatten();
    let files = stages.flat_map(|stage| fs::read_dir(stage.path()).into_iter().flatten().flatten());
    let parts = files.filter(|file| file.file_name().to_string_lossy().starts_with("part-"));
    let texts = parts.filter_map(|part| fs::read_to_string(part.path()).ok());
    texts.map(|text| text.matches("\"rollout\":{\"index\"").count() as u64).sum()
}

/// Sum of the records that the runs say they made, over all stages of a kind.
fn num_made(folder: &Folder, store: &str, kind: &str) -> u64 {
    let mut sum = 0;
    for stage in fs::read_dir(folder.path(store).join("stages")).expect("a store") {
        let stage = stage.expect("readable").path();
        let spec = json(&fs::read_to_string(stage.join("spec.json")).expect("a specification"));
        let Ok(costs) = fs::read_to_string(stage.join("cost.jsonl")) else { continue };
        if spec["kind"] == kind {
            let made = |line: &str| json(line)["num-records"].as_u64().expect("a number");
            sum += costs.lines().map(made).sum::<u64>();
        }
    }
    sum
}

#[test]
fn status_shows_the_owner_of_a_cell_which_is_free_when_the_owner_is_killed() {
    let is_open = Arc::new(AtomicBool::new(false));
    let server = Server::start({
        let is_open = Arc::clone(&is_open);
        move |received| {
            while !is_open.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            answer(received)
        }
    });
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    let mut child = folder.start(&["run", "two.toml"]);
    let status = || json(&folder.run(&["--json", "status", "two.toml"]).expect_done().stdout);
    wait_until(|| !status()["cells"][0]["held-by"].is_null());
    let holder = status()["cells"][0]["held-by"].clone();
    assert_eq!(holder["pid"], child.id());
    assert!(holder["heartbeat-secs"].as_f64().is_some_and(|secs| secs < 60.0), "{holder}");
    assert!(status()["cells"][1]["held-by"].is_null());
    let shown = folder.run(&["status", "two.toml"]).expect_done().stdout;
    assert!(shown.contains(&format!(":{}, heartbeat ", child.id())), "{shown}");
    child.kill().expect("a child");
    child.wait().expect("a child");
    assert!(status()["cells"][0]["held-by"].is_null());
    is_open.store(true, Ordering::SeqCst);
    let run = folder.run(&["run", "two.toml"]).expect_done();
    assert!(!run.stderr.contains("waiting"), "{}", run.stderr);
}

#[test]
fn a_suspended_process_finds_its_rollouts_taken_over_and_writes_no_more_of_them() {
    let folder = Folder::new();
    folder.write_manifest(200);
    folder.run(&["run", "tiny.toml", "--store", "whole"]).expect_done();
    let arguments = ["run", "tiny.toml", "--json", "--batch", "1", "--store", "shared"];
    let command = || {
        let mut command = folder.command(&arguments);
        command.env("PRECEPTOR_LEASE_SECS", "2");
        command
    };
    let first = start(&mut command());
    wait_until(|| num_rollouts(&folder, "shared") > 10);
    send("-STOP", first.id());
    let before = num_rollouts(&folder, "shared");
    let second = folder.finish(&mut command()).expect_done();
    assert!(second.stderr.contains("waiting for another process"), "{}", second.stderr);
    let made = json(&second.stdout)["rollouts-sampled"].as_u64().expect("a number");
    send("-CONT", first.id());
    let first = finish(first).expect_done();
    assert!(first.stderr.contains("has it; it comes last now"), "{}", first.stderr);
    assert_eq!(made + before, 200 * 8, "{made} after {before}");
    assert_eq!(lines(&folder, "shared"), lines(&folder, "whole"));
    folder.run(&["store", "verify", "--store", "shared"]).expect_done();
}

#[test]
fn a_suspended_training_run_is_taken_over_and_its_trajectory_stays() {
    let folder = Folder::new();
    training::write_manifest(&folder);
    folder.run(&["run", "train.toml", "--store", "whole"]).expect_done();
    let command = || {
        let mut command = folder.command(&["run", "train.toml", "--json", "--store", "shared"]);
        command.env("PRECEPTOR_LEASE_SECS", "2").env("RAYON_NUM_THREADS", "1");
        command
    };
    let first = start(&mut command());
    wait_until(|| has_checkpoint(&folder, "shared"));
    send("-STOP", first.id());
    folder.finish(&mut command()).expect_done();
    send("-CONT", first.id());
    let first = finish(first).expect_done();
    assert!(first.stderr.contains("has it; it comes last now"), "{}", first.stderr);
    assert!(trajectory(&folder, "shared") == trajectory(&folder, "whole"));
    assert!(training::weights(&folder, "shared") == training::weights(&folder, "whole"));
}

/// Every record apart from times.
fn trajectory(folder: &Folder, store: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut stages = lines(folder, store);
    stages.retain(|stage, _| {
        let spec = folder.path(store).join("stages").join(stage).join("spec.json");
        json(&fs::read_to_string(spec).expect("a specification"))["kind"] != "train-costs"
    });
    stages
}

pub(crate) fn has_checkpoint(folder: &Folder, store: &str) -> bool {
    let Ok(runs) = fs::read_dir(folder.path(store).join("training")) else { return false };
    runs.flatten().any(|run| {
        fs::read_dir(run.path().join("checkpoints")).is_ok_and(|steps| {
            steps.flatten().any(|step| step.file_name().to_string_lossy().starts_with("step-"))
        })
    })
}

#[test]
fn arms_in_two_processes_evaluate_the_initial_policy_once() {
    let folder = Folder::new();
    training::write_manifest(&folder);
    let text = fs::read_to_string(folder.path("train.toml")).expect("written");
    let arms = "[matrix]\n\"train.schedule.learning-rate\" = [1e-3, 1e-4]\n";
    // Long enough that both are at it at the same time.
    let text = text.replace("skip = 20\nlimit = 3", "skip = 20\nlimit = 40");
    folder.write("train.toml", &format!("{text}{arms}"));
    let run = |unit: &str, store: &str| {
        folder.run(&["run", "train.toml", "--only-unit", unit, "--store", store]).expect_done()
    };
    run("0", "alone");
    run("1", "alone");
    thread::scope(|scope| {
        for unit in ["0", "1"] {
            scope.spawn(|| run(unit, "shared"));
        }
    });
    assert_eq!(num_made(&folder, "shared", "rollouts"), num_made(&folder, "alone", "rollouts"));
    let grades = |store| training::of_kind(&folder, store, "rollout-grades");
    assert!(grades("shared") == grades("alone"));
}

/// A command on a host of its own, or none where namespaces can't be made.
fn on_host(folder: &Folder, host: &str, arguments: &[&str]) -> Option<Command> {
    let namespaces = ["--user", "--map-root-user", "--uts", "--net", "--mount"];
    let can = Command::new("unshare").args(namespaces).args(["hostname", host]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: `unshare {}` does not work here", namespaces.join(" "));
        return None;
    }
    let prototype = folder.command(arguments);
    let mut command = Command::new("unshare");
    let script = format!("hostname {host} && exec \"$0\" \"$@\"");
    command.args(namespaces).args(["sh", "-c", &script]).arg(prototype.get_program());
    command.args(prototype.get_args()).current_dir(folder.path("."));
    for (key, value) in prototype.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.env("PRECEPTOR_FILE_LOCKS", "off").env("PRECEPTOR_LEASE_SECS", "3");
    command.stdin(Stdio::null());
    Some(command)
}

#[test]
fn two_hosts_without_locks_share_a_store_and_one_may_die() {
    let folder = Folder::new();
    folder.write_manifest(16);
    let shared = |host: &str, store: &str| {
        let seeds = ["--set", "seeds=[0,1,2]", "--json", "--batch", "2"];
        on_host(&folder, host, &[&["run", "tiny.toml", "--store", store][..], &seeds].concat())
    };
    let Some(mut alone) = shared("node0", "alone") else { return };
    let num_made_by =
        |done: &Finished| json(&done.stdout)["rollouts-sampled"].as_u64().expect("a number");
    assert_eq!(num_made_by(&folder.finish(&mut alone).expect_done()), 3 * 16 * 8);
    let mut commands = ["node1", "node2"].map(|host| shared(host, "both").expect("it works here"));
    let running = commands.each_mut().map(start);
    let owners = || -> BTreeSet<String> {
        let leases = fs::read_dir(folder.path("both/leases")).into_iter().flatten().flatten();
        let files = leases.flat_map(|lease| fs::read_dir(lease.path()).into_iter().flatten());
        let texts = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok());
        let leases = texts.filter_map(|text| serde_json::from_str::<Value>(&text).ok());
        leases.filter_map(|lease| Some(lease["host"].as_str()?.to_owned())).collect()
    };
    wait_until(|| owners().len() == 2);
    assert_eq!(owners(), ["node1", "node2"].map(str::to_owned).into());
    let made: u64 = running.map(finish).map(|done| num_made_by(&done.expect_done())).iter().sum();
    assert_eq!(made, 3 * 16 * 8, "no rollout was sampled twice");
    assert_eq!(lines(&folder, "both"), lines(&folder, "alone"));

    let mut dying = start(&mut shared("node3", "dead").expect("it works here"));
    wait_until(|| num_lines(&folder.path("dead")) > 20);
    dying.kill().expect("a child");
    dying.wait().expect("a child");
    let heir = folder.finish(&mut shared("node4", "dead").expect("it works here")).expect_done();
    assert!(heir.stderr.contains("on `node3`)"), "{}", heir.stderr);
    assert_eq!(lines(&folder, "dead"), lines(&folder, "alone"));
}

#[test]
fn wrong_settings_of_leases_are_refused() {
    let folder = Folder::new();
    folder.write_manifest(1);
    let said = |key: &str, value: &str| {
        let mut command = folder.command(&["status", "tiny.toml"]);
        folder.finish(command.env(key, value)).said()
    };
    insta::assert_snapshot!(
        [said("PRECEPTOR_LEASE_SECS", "0"), said("PRECEPTOR_FILE_LOCKS", "no")].join("\n"),
        @r#"
    exit Some(2)
    error: failed to use PRECEPTOR_LEASE_SECS: expected 1 to 86400, found "0"
    hint: it is the time without a heartbeat after which another process takes over; the default is 120

    exit Some(2)
    error: failed to use PRECEPTOR_FILE_LOCKS: expected on or off, found "no"
    hint: turn locks off on a file system on which they hang; the default is on
    "#
    );
}
