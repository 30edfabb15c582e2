//! Training as a process: bit-identical after a kill, without labels, with an end to everything.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Finished, Folder, TINY_MODEL, num_lines};

/// Writes `train.toml`: six steps on a coin's rewards.
pub(crate) fn write_manifest(folder: &Folder) {
    let manifest = format!(
        r#"title = "Tiny training"
[policy]
model = "{TINY_MODEL}"
[benchmark]
kind = "arithmetic"
terms = 2
shots = 1
limit = 6
[held-out]
skip = 20
limit = 3
[sampling]
group-size = 4
max-new-tokens = 8
stop = []
[aggregator]
kind = "single"
[reward]
terms = [{{ kind = "random" }}]
[train]
kind = "grpo"
steps = 6
prompts-per-step = 2
evaluate-every = 2
checkpoint-every = 2
[train.schedule]
learning-rate = 1e-3
"#
    );
    folder.write("train.toml", &manifest);
}

/// The kind and the records of every stage, but for what a step took.
fn records(folder: &Folder, store: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let all = all_records(folder, store).into_iter();
    all.filter(|(_, (kind, _))| kind != "train-costs").collect()
}

fn all_records(folder: &Folder, store: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let stages = folder.records(store).into_iter();
    let with_kind = stages.map(|(stage, records)| {
        let spec = folder.path(store).join("stages").join(&stage).join("spec.json");
        let spec: Value = serde_json::from_slice(&fs::read(spec).expect("written")).expect("JSON");
        (stage, (spec["kind"].as_str().expect("named").to_owned(), records))
    });
    with_kind.collect()
}

/// The values of all records of one kind.
pub(crate) fn of_kind(folder: &Folder, store: &str, kind: &str) -> Vec<Value> {
    let stages = all_records(folder, store).into_values().filter(|(known, _)| known == kind);
    let lines = stages.flat_map(|(_, records)| records);
    lines.map(|line| serde_json::from_str::<Value>(&line).expect("JSON")["value"].clone()).collect()
}

/// The folder of the last checkpoint.
fn last_checkpoint(folder: &Folder, store: &str) -> PathBuf {
    let mut training_runs = fs::read_dir(folder.path(store).join("training")).expect("trained");
    let training = training_runs.next().expect("one").expect("readable").path();
    let steps = fs::read_dir(training.join("checkpoints")).expect("there are some");
    steps.map(|step| step.expect("readable").path()).max().expect("one or more")
}

pub(crate) fn weights(folder: &Folder, store: &str) -> Vec<u8> {
    fs::read(last_checkpoint(folder, store).join("weights.safetensors")).expect("written")
}

#[test]
fn a_training_that_is_killed_goes_on_along_the_same_trajectory() {
    let folder = Folder::new();
    write_manifest(&folder);
    let done = folder.run(&["run", "train.toml", "--store", "whole", "--json"]).expect_done();
    let summary: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 6);
    for at_least in [3, 9, 15, 21] {
        let mut child = folder.start(&["run", "train.toml", "--store", "killed"]);
        while num_lines(&folder.path("killed")) < at_least
            && child.try_wait().expect("a child").is_none()
        {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }
    let mut single = folder.command(&["run", "train.toml", "--store", "killed", "--batch", "3"]);
    folder.finish(single.env("RAYON_NUM_THREADS", "1")).expect_done();
    assert!(records(&folder, "killed") == records(&folder, "whole"));
    assert!(weights(&folder, "killed") == weights(&folder, "whole"));
    folder.run(&["store", "verify", "--store", "killed"]).expect_done();

    let again = folder.run(&["run", "train.toml", "--store", "whole", "--json"]);
    let summary: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&summary["training-steps"], &summary["rollouts-sampled"]), (&0.into(), &0.into()));
}

#[test]
fn two_processes_share_the_training_runs_of_a_store() {
    let folder = Folder::new();
    write_manifest(&folder);
    let seeds = ["--set", "seeds=[0,1,2,3]", "--json"];
    let arguments = |store| [&["run", "train.toml", "--store", store][..], &seeds].concat();
    let num_steps = |output: &Finished| -> u64 {
        let summary: Value = serde_json::from_str(&output.stdout).expect("JSON");
        summary["training-steps"].as_u64().expect("a number")
    };
    assert_eq!(num_steps(&folder.run(&arguments("alone")).expect_done()), 24);
    let together = thread::scope(|scope| {
        let run = || folder.run(&arguments("shared")).expect_done();
        let processes = [scope.spawn(run), scope.spawn(run)];
        processes.map(|process| num_steps(&process.join().expect("no panic")))
    });
    assert_eq!(together.iter().sum::<u64>(), 24, "no step was done twice: {together:?}");
    assert_eq!(records(&folder, "shared"), records(&folder, "alone"));
    assert_eq!(num_steps(&folder.run(&arguments("shared")).expect_done()), 0);
}

#[test]
fn a_training_run_is_priced_without_its_model_and_not_started() {
    let folder = Folder::new();
    write_manifest(&folder);
    let model = ["--set", "policy.model=qwen3-4b"];
    let plan = folder.run(&[&["plan", "train.toml"][..], &model].concat()).expect_done();
    let says = |text: &str| assert!(plan.stdout.contains(text), "{}", plan.stdout);
    says("`qwen3-4b` is not downloaded");
    says("preceptor models fetch qwen3-4b");
    says("on a GPU at 400 TFLOP/s");
    let refused = folder.run(&[&["run", "train.toml"][..], &model].concat());
    assert!(refused.stderr.contains("find model `qwen3-4b`: not fetched"), "{}", refused.stderr);
    assert_eq!(refused.code, Some(3));
}

#[test]
fn gradient_checkpointing_changes_no_record() {
    let folder = Folder::new();
    write_manifest(&folder);
    folder.run(&["run", "train.toml", "--store", "kept"]).expect_done();
    let setting = "train.gradient-checkpointing=true";
    let again = folder.run(&["run", "train.toml", "--store", "again", "--set", setting, "--json"]);
    let summary: Value = serde_json::from_str(&again.expect_done().stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 6);
    assert!(records(&folder, "again") == records(&folder, "kept"));
    assert!(weights(&folder, "again") == weights(&folder, "kept"));
}

#[test]
fn devices_that_share_the_work_change_no_record() {
    let folder = Folder::new();
    write_manifest(&folder);
    let run = |store: &str, device: &str, settings: &[&str]| {
        // Five passes an update, so that a round has one to three of them.
        let common = ["run", "train.toml", "--store", store, "--device", device];
        let passes = ["--set", "train.tokens-per-pass=60"];
        folder.run(&[&common[..], &passes, settings].concat()).expect_done();
        (records(&folder, store), weights(&folder, store))
    };
    let lora = ["--set", "train.lora.rank=4", "--set", "train.gradient-checkpointing=true"];
    for (name, settings) in [("full", &[][..]), ("lora", &lora)] {
        let one = run(&format!("{name}-one"), "cpu", settings);
        let three = run(&format!("{name}-three"), "cpu,cpu,cpu", settings);
        assert!(one == three, "{name}");
    }
    let refused = folder.run(&["run", "train.toml", "--device", "cpu,cpu:bf16"]);
    insta::assert_snapshot!("devices-of-two-formats", refused.said());
}

#[test]
fn trainer_and_sampler_agree_on_every_token() {
    let folder = Folder::new();
    write_manifest(&folder);
    folder.run(&["run", "train.toml"]).expect_done();
    let steps = of_kind(&folder, "runs", "train-steps");
    assert_eq!(steps.len(), 6);
    for step in &steps {
        let measures = &step["measures"];
        assert_eq!(measures["sampler-gap"], 0.0, "{step}");
        assert!(measures["gradient-norm"].as_f64().expect("measured") > 0.0, "{step}");
    }
    assert_eq!(steps[0]["measures"]["kl"], 0.0, "the policy begins as the KL reference");
    assert!(steps[5]["measures"]["kl"].as_f64().expect("measured") != 0.0, "and leaves it");
    // Every group of every step can be read back.
    let groups = of_kind(&folder, "runs", "train-groups");
    assert_eq!(groups.len(), 6 * 2);
    for group in groups {
        assert_eq!(group["rollouts"].as_array().map(Vec::len), Some(4));
        assert_eq!(group["advantages"].as_array().map(Vec::len), Some(4));
    }
    // 0, 2, 4 and 6 steps on both splits.
    let report = fs::read_to_string(folder.path("reports/train/tables/training_scores.csv"));
    assert_eq!(report.expect("written").lines().count(), 1 + 4 * 2);
    assert!(folder.path("reports/train/figures/learning-curves.svg").exists());
    assert!(folder.path("reports/train/figures/training-steps.svg").exists());
}

#[test]
fn a_constant_reward_leaves_the_weights_as_they_are() {
    let folder = Folder::new();
    write_manifest(&folder);
    let set = |setting: &'static str| ["--set", setting];
    let still = [
        set("reward.terms=[{ kind = \"constant\" }]"),
        set("train.optimizer.weight-decay=0"),
        set("train.objective.reward-kl=0"),
        set("train.keep-checkpoints=9"),
    ];
    let arguments = [&["run", "train.toml"][..], &still.concat()].concat();
    folder.run(&arguments).expect_done();
    let last = last_checkpoint(&folder, "runs");
    let first = last.with_file_name("step-000002");
    let read = |folder: &PathBuf| fs::read(folder.join("weights.safetensors")).expect("written");
    assert!(read(&first) == read(&last));
    // Rollouts of the last policy are those of the first.
    let stages = records(&folder, "runs").into_values();
    let mut rollouts: Vec<_> = stages.filter(|(kind, _)| kind == "rollouts").collect();
    rollouts.retain(|(_, records)| records.len() == 6 + 2);
    assert_eq!(rollouts.len(), 3, "before the first step, after 2 and 4");
    assert!(rollouts.iter().all(|(_, records)| *records == rollouts[0].1));
    let steps = of_kind(&folder, "runs", "train-steps");
    assert!(steps.iter().all(|step| step["measures"]["groups-zero-variance"] == 1.0));
}

#[test]
fn scrambled_labels_change_no_reward_and_no_weight() {
    let run = |label: &dyn Fn(usize) -> usize| {
        let folder = Folder::new();
        write_manifest(&folder);
        let row =
            |i: usize| format!("{{\"problem\": \"question {i}\", \"answer\": {}}}\n", label(i));
        folder.write("rows.jsonl", &(0..9).map(row).collect::<String>());
        let manifest = fs::read_to_string(folder.path("train.toml")).expect("written");
        let (benchmark, held_out) = (
            manifest.find("kind = \"arith").expect("there"),
            manifest.find("[held").expect("there"),
        );
        let manifest = format!(
            "{}kind = \"jsonl\"\npath = \"rows.jsonl\"\nlimit = 6\n{}",
            &manifest[..benchmark],
            manifest[held_out..].replace("skip = 20", "skip = 6")
        );
        folder.write(
            "train.toml",
            &manifest.replace("\"random\"", "\"random\" }, { kind = \"answer-match\""),
        );
        folder.run(&["run", "train.toml"]).expect_done();
        let groups = of_kind(&folder, "runs", "train-groups").into_iter().map(|group| {
            ["step", "prompt", "rollouts", "aggregate", "reward", "advantages"]
                .map(|key| group[key].to_string())
        });
        (groups.collect::<Vec<_>>(), weights(&folder, "runs"))
    };
    let (groups, weights) = run(&|i| i % 4);
    let (scrambled_groups, scrambled_weights) = run(&|i| (7 * i + 3) % 5);
    assert_eq!(groups.len(), 6 * 2);
    assert_eq!(groups, scrambled_groups);
    assert!(weights == scrambled_weights);
}

#[test]
fn supervised_fine_tuning_learns_its_targets() {
    let folder = Folder::new();
    write_manifest(&folder);
    let settings = ["--set", "train.kind=sft", "--set", "train.steps=12"];
    folder.run(&[&["run", "train.toml"][..], &settings].concat()).expect_done();
    let steps = of_kind(&folder, "runs", "train-steps");
    let loss = |step: usize| steps[step]["measures"]["loss"].as_f64().expect("measured");
    assert_eq!(steps.len(), 12);
    // The prompts of the first and of the last steps are the same.
    let mean = |steps: std::ops::Range<usize>| steps.clone().map(loss).sum::<f64>() / 3.0;
    assert!(mean(9..12) < mean(0..3) - 0.1, "{} {}", mean(0..3), mean(9..12));
}

#[test]
fn adapters_are_trained_and_killed_alike() {
    let folder = Folder::new();
    write_manifest(&folder);
    let lora =
        ["--set", "train.lora.rank=4", "--set", "train.passes=2", "--set", "train.mini-batches=2"];
    let arguments = |store| [&["run", "train.toml", "--store", store][..], &lora].concat();
    folder.run(&arguments("whole")).expect_done();
    let mut child = folder.start(&arguments("killed"));
    while num_lines(&folder.path("killed")) < 10 && child.try_wait().expect("a child").is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    folder.run(&arguments("killed")).expect_done();
    assert!(records(&folder, "killed") == records(&folder, "whole"));
    assert!(weights(&folder, "killed") == weights(&folder, "whole"));
    let steps = of_kind(&folder, "whole", "train-steps");
    assert!(steps.iter().all(|step| step["measures"]["sampler-gap"].as_f64() < Some(1e-4)));
}

#[test]
fn training_stops_where_the_validation_score_gets_no_better() {
    let folder = Folder::new();
    write_manifest(&folder);
    let settings = [
        "--set",
        "train.early-stopping.patience=2",
        "--set",
        "validation={ skip = 30, limit = 2 }",
        "--set",
        "train.steps=60",
    ];
    let arguments = [&["run", "train.toml", "--json"][..], &settings].concat();
    let done = folder.run(&arguments).expect_done();
    // Random weights are never right: the initial policy stays the best.
    let summary: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 4);
    let again = folder.run(&arguments);
    let summary: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 0);
    let status = folder.run(&[&["status", "train.toml"][..], &settings].concat());
    assert!(status.stdout.contains("1 done"), "{}", status.said());
}

#[test]
fn more_steps_go_on_from_those_that_are_there() {
    let folder = Folder::new();
    write_manifest(&folder);
    folder.run(&["run", "train.toml"]).expect_done();
    let longer = folder.run(&["run", "train.toml", "--json", "--set", "train.steps=8"]);
    let longer = longer.expect_done();
    let summary: Value = serde_json::from_str(&longer.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 2);
    folder.run(&["run", "train.toml", "--store", "whole", "--set", "train.steps=8"]).expect_done();
    assert!(weights(&folder, "runs") == weights(&folder, "whole"));
}

#[test]
fn without_optimizer_state_a_policy_is_exported_and_longer_training_runs_start_over() {
    let folder = Folder::new();
    write_manifest(&folder);
    let light = ["--set", "train.keep-optimizer=false", "--set", "train.keep-checkpoints=2"];
    folder.run(&[&["run", "train.toml"], &light[..]].concat()).expect_done();
    let last = last_checkpoint(&folder, "runs");
    for step in [last.clone(), last.with_file_name("step-000004")] {
        assert!(!step.join("optimizer.safetensors").exists());
    }
    folder.run(&["run", "train.toml", "--store", "whole"]).expect_done();
    assert!(last_checkpoint(&folder, "whole").join("optimizer.safetensors").exists());
    assert!(weights(&folder, "runs") == weights(&folder, "whole"));
    folder.run(&["export", "train.toml", "--out", "policy"]).expect_done();

    // The weights of the last step are enough for an evaluation that is lost, and for estimates.
    let grades =
        records(&folder, "runs").into_iter().find(|(_, (kind, _))| kind == "rollout-grades");
    fs::remove_dir_all(folder.path("runs/stages").join(grades.expect("some").0)).expect("there");
    let again = folder.run(&[&["run", "train.toml", "--json"], &light[..]].concat()).expect_done();
    let summary: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 0);

    let longer = ["run", "train.toml", "--json", "--set", "train.steps=8"];
    let longer = folder.run(&longer).expect_done();
    let summary: Value = serde_json::from_str(&longer.stdout).expect("JSON");
    assert_eq!(summary["training-steps"], 8);
    folder.run(&["run", "train.toml", "--store", "whole", "--set", "train.steps=8"]).expect_done();
    assert!(weights(&folder, "runs") == weights(&folder, "whole"));
}

#[test]
fn a_trained_policy_is_exported_and_trained_on() {
    let folder = Folder::new();
    write_manifest(&folder);
    let unfinished = folder.run(&["export", "train.toml", "--out", "policy"]);
    insta::assert_snapshot!("export-unfinished", unfinished.said());
    folder.run(&["run", "train.toml"]).expect_done();
    folder.run(&["export", "train.toml", "--out", "policy"]).expect_done();
    let again = folder.run(&["export", "train.toml", "--out", "policy"]);
    insta::assert_snapshot!("export-there", again.said());
    let adapter = folder.run(&["export", "train.toml", "--out", "adapter", "--adapter"]);
    insta::assert_snapshot!("export-no-adapter", adapter.said());
    answers_alike_and_goes_on(&folder, &[], "policy");
}

#[test]
fn an_adapter_stands_where_a_model_can() {
    let folder = Folder::new();
    write_manifest(&folder);
    let lora = ["--set", "train.lora.rank=4"];
    folder.run(&[&["run", "train.toml"][..], &lora].concat()).expect_done();
    let export = ["export", "train.toml", "--out", "adapter", "--adapter"];
    folder.run(&[&export[..], &lora].concat()).expect_done();
    answers_alike_and_goes_on(&folder, &lora, "adapter");

    let config = folder.path("adapter/adapter_config.json");
    let text = fs::read_to_string(&config).expect("written");
    for (name, base) in [("unknown", "\"no-model\""), ("none", "null")] {
        let changed = text.replace(&format!("\"{TINY_MODEL}\""), base);
        fs::write(&config, changed).expect("writable");
        let said = folder.run(&["plan", "train.toml", "--set", "policy.model=adapter"]).said();
        insta::assert_snapshot!(format!("adapter-of-{name}"), said);
    }
}

/// Asks and trains on the policy that `train.toml` with `settings` has trained and that was exported
/// to `exported`.
fn answers_alike_and_goes_on(folder: &Folder, settings: &[&str], exported: &str) {
    let rollouts = |store: &str| {
        let stages = records(folder, store).into_values();
        let rollouts = stages.filter(|(kind, _)| kind == "rollouts").map(|(_, records)| records);
        rollouts.max_by_key(Vec::len).expect("there are some")
    };
    let model = format!("policy.model={exported}");
    let longer = ["run", "train.toml", "--store", "on", "--set", &model, "--set", "train.steps=1"];
    folder.run(&[&longer[..], settings].concat()).expect_done();
    let asked = format!(
        "title = \"asked\"\n[policy]\nmodel = \"{exported}\"\n[benchmark]\nkind = \"arithmetic\"\n\
         terms = 2\nshots = 1\nlimit = 6\n[sampling]\ngroup-size = 4\nmax-new-tokens = 8\n\
         stop = []\n[aggregator]\nkind = \"single\"\n"
    );
    folder.write("asked.toml", &asked);
    folder.run(&["run", "asked.toml", "--store", "asked"]).expect_done();
    let (asked, trained) = (rollouts("asked"), rollouts("runs"));
    assert_eq!(asked.len(), 6 * 4);
    assert!(asked.iter().all(|rollout| trained.contains(rollout)));
}

#[test]
fn numbers_that_diverge_stop_the_training_and_keep_the_last_good_weights() {
    let folder = Folder::new();
    write_manifest(&folder);
    // Weights are multiplied by -9 in each step.
    let wild = [
        "--set",
        "train.schedule.learning-rate=1",
        "--set",
        "train.optimizer.weight-decay=10",
        "--set",
        "train.steps=100",
    ];
    let stopped = folder.run(&[&["run", "train.toml"][..], &wild].concat());
    assert_eq!(stopped.code, Some(3), "{}", stopped.said());
    assert!(stopped.stderr.contains("the weights may have diverged"), "{}", stopped.said());
    assert!(last_checkpoint(&folder, "runs").join("checkpoint.json").exists());
}

#[test]
fn a_checkpoint_that_is_cut_off_is_refused_by_name() {
    let folder = Folder::new();
    write_manifest(&folder);
    folder.run(&["run", "train.toml"]).expect_done();
    let cut = last_checkpoint(&folder, "runs").join("optimizer.safetensors");
    let bytes = fs::read(&cut).expect("written");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("writable");
    let refused = folder.run(&["run", "train.toml", "--set", "train.steps=8"]);
    assert_eq!(refused.code, Some(3), "{}", refused.said());
    assert!(refused.stderr.contains("optimizer.safetensors`: its digest is"), "{}", refused.said());
    assert!(refused.stderr.contains("hint: delete this folder"), "{}", refused.said());
}

#[test]
fn impossible_training_runs_are_refused_by_key() {
    let folder = Folder::new();
    write_manifest(&folder);
    let said = |setting: &str| folder.run(&["run", "train.toml", "--set", setting]).said();
    for (name, setting) in [
        ("kind", "train.kind=ppo"),
        ("steps", "train.steps=0"),
        ("unknown-key", "train.stps=5"),
        ("prompts", "train.prompts-per-step=7"),
        ("mini-batches", "train.mini-batches=3"),
        ("rate", "train.schedule.learning-rate=-1"),
        ("beta", "train.optimizer.beta1=1"),
        ("clip", "train.objective.clip-low=2"),
        ("unknown-clip", "train.objective.clip=0.2"),
        ("rank", "train.lora.rank=0"),
        ("targets", "train.lora={ rank = 4, targets = [\"q_proj\", \"gate\"] }"),
        ("early-stopping", "train.early-stopping.patience=2"),
        ("group", "sampling.group-size=1"),
        ("held-out-trained-on", "held-out={ limit = 6 }"),
        ("held-out-limit", "held-out={ skip = 20, limit = 0 }"),
        ("skip", "held-out={ kind = \"jsonl\", path = \"none.jsonl\" }"),
    ] {
        insta::assert_snapshot!(format!("refused-{name}"), said(setting));
    }
    assert!(!folder.path("runs").join("training").exists(), "nothing was begun");
}
