//! `launch`: scripts for clusters, and the tasks that they run.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use preceptor_testkit::server::Server;
use serde_json::Value;

use crate::process::{Finished, Folder};
use crate::scripted::{answer, json, write_two_policies};
use crate::sharing::{finish, has_checkpoint, send, start, wait_until};
use crate::training;

/// A manifest of two sets of rollouts, with resources.
fn write_manifest(folder: &Folder, launch: &str) {
    folder.write_manifest(4);
    let text = fs::read_to_string(folder.path("tiny.toml")).expect("written");
    let text = text.replace("seeds = [0]", "seeds = [0, 1]");
    folder.write("tiny.toml", &format!("{text}\n[launch]\n{launch}"));
}

const RESOURCES: &str = r#"gpus = 2
cpus = 8
memory-gib = 64
time-limit = "04:00:00"
max-parallel = 1
setup = ["module load cuda", "export HF_HOME=/shared/hf"]
partition = "gpu"
account = "research"
sbatch = ["--constraint=h100"]
image = "registry.example/preceptor:1"
volume-claim = "shared"
"#;

/// The text of a file without what differs between machines.
fn read(folder: &Folder, path: &str) -> String {
    let text = fs::read_to_string(folder.path(path)).expect("written");
    let current = folder.path(".").canonicalize().expect("there").display().to_string();
    text.replace(env!("CARGO_BIN_EXE_preceptor"), "[preceptor]").replace(&current, "[dir]")
}

fn launch(folder: &Folder, arguments: &[&str]) -> Finished {
    folder.run(&[&["launch", "tiny.toml"], arguments].concat())
}

#[test]
fn the_script_for_slurm_requeues_its_own_task() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    let arguments = ["--slurm", "--set", "sampling.temperature=0.5", "--batch", "4"];
    let done = launch(&folder, &arguments).expect_done();
    insta::assert_snapshot!("slurm", read(&folder, "launch/tiny/slurm.sh"));
    insta::assert_snapshot!("launch-slurm", done.stdout);
    let mut bash = Command::new("bash");
    let checked = bash.args(["-n", "launch/tiny/slurm.sh"]).current_dir(folder.path(".")).status();
    assert!(checked.is_ok_and(|status| status.success()));
    let plan = json(&fs::read_to_string(folder.path("launch/tiny/plan.json")).expect("written"));
    assert_eq!(plan["units"].as_array().map(Vec::len), Some(2));
    assert_eq!(plan["units"][1]["cells"].as_array().map(Vec::len), Some(6));
}

#[test]
fn the_job_for_kubernetes_is_indexed_and_retries_by_index() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    launch(&folder, &["--kubernetes", "--out", "there"]).expect_done();
    insta::assert_snapshot!("kubernetes", read(&folder, "there/kubernetes.yaml"));
    write_manifest(&folder, "gpus = 1\n");
    insta::assert_snapshot!("kubernetes-no-image", launch(&folder, &["--kubernetes"]).said());
}

#[test]
fn the_job_for_hyperqueue_has_an_array() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    launch(&folder, &["--hyperqueue"]).expect_done();
    let text = read(&folder, "launch/tiny/hyperqueue.toml");
    insta::assert_snapshot!("hyperqueue", text);
}

#[test]
fn served_training_gets_a_server_step() {
    let folder = Folder::new();
    training::write_manifest(&folder);
    let text = fs::read_to_string(folder.path("train.toml")).expect("written");
    let server = r#"
[rollouts]
server = "vllm"
base-urls = ["http://127.0.0.1:8000"]
weights-dir = "weights"
[launch]
gpus = 4
server-gpus = 3
cpus = 16
memory-gib = 100
server = "vllm serve 'my model' --port 8000"
"#;
    folder.write("train.toml", &format!("{text}{server}"));
    folder.run(&["launch", "train.toml", "--slurm"]).expect_done();
    insta::assert_snapshot!("slurm-server", read(&folder, "launch/train/slurm.sh"));
    let refused = folder.run(&["launch", "train.toml", "--hyperqueue"]);
    insta::assert_snapshot!("launch-server-elsewhere", refused.said());
}

#[test]
fn a_script_that_differs_is_replaced_only_by_force() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    launch(&folder, &["--slurm"]).expect_done();
    launch(&folder, &["--slurm"]).expect_done();
    let refused = launch(&folder, &["--slurm", "--limit", "2"]);
    insta::assert_snapshot!("launch-differs", refused.said());
    launch(&folder, &["--slurm", "--limit", "2", "--force"]).expect_done();
    let neither = launch(&folder, &[]);
    assert_eq!(neither.code, Some(2), "{}", neither.said());
}

#[test]
fn tasks_refuse_another_plan_and_a_unit_that_is_not_there() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    launch(&folder, &["--slurm"]).expect_done();
    let unit = |more: &[&str]| {
        let arguments = ["run", "tiny.toml", "--frozen", "launch/tiny/plan.json"];
        folder.run(&[&arguments, more].concat())
    };
    insta::assert_snapshot!("unit-out-of-range", unit(&["--only-unit", "2"]).said());
    let other = unit(&["--only-unit", "1", "--set", "sampling.temperature=0.5"]).said();
    let mut words: Vec<&str> = other.split(' ').collect();
    for word in &mut words {
        if word.trim_end_matches(',').len() == 12
            && word.trim_end_matches(',').chars().all(|c| c.is_ascii_hexdigit())
        {
            *word = "[digest]";
        }
    }
    insta::assert_snapshot!("unit-of-another-plan", words.join(" "));
    folder.write("launch/tiny/plan.json", "{}");
    insta::assert_snapshot!("unit-of-a-broken-plan", unit(&["--only-unit", "1"]).said());
    // Resources are no part of a plan.
    write_manifest(&folder, "gpus = 1\n");
    launch(&folder, &["--slurm", "--force"]).expect_done();
    write_manifest(&folder, "gpus = 7\n");
    unit(&["--only-unit", "1"]).expect_done();
}

#[test]
fn units_make_the_records_of_a_plain_run_and_then_have_nothing_to_do() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    folder.run(&["run", "tiny.toml", "--store", "plain"]).expect_done();
    let unit = |index: &str| {
        let arguments = ["run", "tiny.toml", "--store", "units", "--only-unit", index];
        folder.run(&arguments).expect_done().stdout
    };
    assert_eq!(
        unit("0"),
        "Unit 0: 32 rollouts sampled, 0 reused from the store, 0 training steps.\n"
    );
    unit("1");
    assert_eq!(folder.records("units"), folder.records("plain"));
    assert_eq!(unit("1"), "Unit 1 has nothing to do: its records are stored.\n");
    folder.run(&["report", "tiny.toml", "--store", "units"]).expect_done();
    // The scheduler is asked for nothing: the store says what is missing.
    fs::remove_dir_all(folder.path("units/stages")).expect("a store");
    unit("1");
    folder.write("bin", "");
    fs::remove_file(folder.path("bin")).expect("written");
    fs::create_dir(folder.path("bin")).expect("writable");
    folder.write("bin/sbatch", "#!/bin/sh\necho \"$@\" > asked\necho 77\n");
    let made = Command::new("chmod").arg("+x").arg(folder.path("bin/sbatch")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let submit = || {
        let arguments = ["launch", "tiny.toml", "--slurm", "--submit", "--store", "units"];
        let mut command = folder.command(&arguments);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.path("bin").display()));
        folder.finish(&mut command).expect_done().stdout
    };
    let said = submit();
    assert!(said.starts_with("1 of 2 units submitted: 77\n"), "{said}");
    let asked = fs::read_to_string(folder.path("asked")).expect("it was asked");
    assert_eq!(asked, "--parsable --array=0%1 launch/tiny/slurm.sh\n");
    unit("0");
    assert!(submit().starts_with("Nothing to submit"));
}

#[test]
fn without_a_scheduler_nothing_is_submitted() {
    let folder = Folder::new();
    write_manifest(&folder, RESOURCES);
    let arguments = ["launch", "tiny.toml", "--slurm", "--submit"];
    let refused = folder.finish(folder.command(&arguments).env("PATH", "/nowhere"));
    assert_eq!(refused.code, Some(3));
    insta::assert_snapshot!("launch-no-sbatch", refused.said());
}

#[test]
fn usr1_stops_a_training_run_at_a_checkpoint_and_it_resumes() {
    let folder = Folder::new();
    training::write_manifest(&folder);
    let many = ["--set", "train.checkpoint-every=50", "--set", "train.steps=40"];
    let run = |store| [&["run", "train.toml", "--json", "--store", store][..], &many].concat();
    folder.run(&run("whole")).expect_done();
    for (signal, code) in [("-USR1", 0), ("-TERM", 143)] {
        let store = signal.trim_start_matches('-');
        let child = start(&mut folder.command(&run(store)));
        let num_steps = || fs::read_dir(folder.path(store).join("training")).is_ok();
        wait_until(|| num_steps() || crate::process::num_lines(&folder.path(store)) > 30);
        send(signal, child.id());
        let stopped = finish(child);
        assert_eq!(stopped.code, Some(code), "{}", stopped.said());
        assert!(
            stopped.stderr.contains("stopped: the run was asked to stop"),
            "{}",
            stopped.stderr
        );
        assert!(has_checkpoint(&folder, store), "{}", stopped.stderr);
        let rest = folder.run(&run(store)).expect_done();
        let summary: Value = serde_json::from_str(&rest.stdout).expect("JSON");
        assert!(summary["training-steps"].as_u64().is_some_and(|steps| steps < 40), "{summary}");
        let steps = |store| training::of_kind(&folder, store, "train-steps");
        assert!(steps(store) == steps("whole"));
        assert!(training::weights(&folder, store) == training::weights(&folder, "whole"));
    }
}

#[test]
fn usr1_stops_sampling_after_the_next_rollout() {
    let folder = Folder::new();
    folder.write_manifest(24);
    folder.run(&["run", "tiny.toml", "--store", "whole"]).expect_done();
    let child = start(&mut folder.command(&["run", "tiny.toml", "--batch", "2", "--store", "cut"]));
    wait_until(|| crate::process::num_lines(&folder.path("cut")) > 5);
    send("-USR1", child.id());
    let stopped = finish(child);
    assert_eq!(stopped.code, Some(0), "{}", stopped.said());
    assert!(stopped.stderr.contains("hint: everything so far is stored"), "{}", stopped.stderr);
    folder.run(&["run", "tiny.toml", "--store", "cut"]).expect_done();
    assert_eq!(folder.records("cut"), folder.records("whole"));
}

#[test]
fn units_that_others_wait_for_come_first_and_cells_of_one_training_run_are_one_unit() {
    let folder = Folder::new();
    training::write_manifest(&folder);
    let text = fs::read_to_string(folder.path("train.toml")).expect("written");
    let cells = |matrix: &str| -> Vec<Vec<String>> {
        folder.write("train.toml", &format!("{text}[matrix]\n{matrix}"));
        folder.run(&["launch", "train.toml", "--slurm", "--force"]).expect_done();
        let plan = json(&fs::read_to_string(folder.path("launch/train/plan.json")).expect("JSON"));
        let units = plan["units"].as_array().expect("units").iter();
        let cells = |unit: &Value| serde_json::from_value(unit["cells"].clone()).expect("labels");
        units.map(cells).collect()
    };
    // The arms of a benchmark share the evaluation before training.
    let arms = "\"benchmark.terms\" = [2, 3]\n\"train.schedule.learning-rate\" = [1e-3, 1e-4]\n";
    insta::assert_snapshot!(cells(arms).concat().join("\n"), @r"
    benchmark.terms=2 train.schedule.learning-rate=0.001 seed=0
    benchmark.terms=3 train.schedule.learning-rate=0.001 seed=0
    benchmark.terms=2 train.schedule.learning-rate=0.0001 seed=0
    benchmark.terms=3 train.schedule.learning-rate=0.0001 seed=0
    ");
    // A training run that is longer begins as a shorter one.
    assert_eq!(cells("\"train.steps\" = [2, 4]\n").iter().map(Vec::len).collect::<Vec<_>>(), [2]);
}

#[test]
fn usr1_stops_calls_to_endpoints() {
    let server = Server::start(|received| {
        thread::sleep(Duration::from_millis(50));
        answer(received)
    });
    let folder = Folder::new();
    write_two_policies(&folder, &server);
    let child = start(&mut folder.command(&["run", "two.toml"]));
    wait_until(|| crate::process::num_lines(&folder.path("runs")) > 1);
    send("-USR1", child.id());
    let stopped = finish(child);
    assert_eq!(stopped.code, Some(0), "{}", stopped.said());
    let done = folder.run(&["run", "two.toml", "--json"]).expect_done();
    let summary = json(&done.stdout);
    let made = summary["rollouts-sampled"].as_u64().expect("a number");
    assert!((1..16).contains(&made), "{made} of 16 rollouts were left");
}
