//! Training with rollouts from servers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use preceptor_testkit::server::{Server, says};
use serde_json::Value;

use crate::fake_vllm::{FakeVllm, Faults};
use crate::process::{Finished, Folder, TINY_MODEL};
use crate::training::of_kind;

/// Writes `served.toml`: three steps of adapters, with rollouts from `servers`.
fn write_manifest(folder: &Folder, servers: &[&Server]) {
    let urls: Vec<_> = servers.iter().map(|server| root(server)).collect();
    let manifest = format!(
        r#"title = "Served training"
[policy]
model = "{TINY_MODEL}"
[benchmark]
kind = "arithmetic"
terms = 2
shots = 1
limit = 6
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
steps = 3
prompts-per-step = 2
checkpoint-every = 1
[train.lora]
rank = 2
[train.schedule]
learning-rate = 0.05
[rollouts]
server = "vllm"
base-urls = {urls:?}
weights-dir = "weights"
max-retries = 0
"#
    );
    folder.write("served.toml", &manifest);
}

fn root(server: &Server) -> String {
    server.url().trim_end_matches("/v1").to_owned()
}

fn run(folder: &Folder, set: &[&str]) -> Finished {
    let set = set.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["run", "served.toml"].into_iter().chain(set).collect();
    folder.run(&arguments)
}

/// The record of each server in each step, by step.
fn servers(folder: &Folder) -> Vec<Vec<Value>> {
    let steps = of_kind(folder, "runs", "train-costs");
    let of_step = |step: &Value| {
        let servers = step["servers"].as_object().expect("servers sampled");
        servers.values().cloned().collect()
    };
    steps.iter().map(of_step).collect()
}

fn num_rollouts(step: &[Value]) -> u64 {
    step.iter().map(|server| server["num-rollouts"].as_u64().expect("a count")).sum()
}

/// Replaces the addresses of the servers.
fn said(finished: &Finished, servers: &[&Server]) -> String {
    let redact = |text: String, server: &&Server| text.replace(&root(server), "[server]");
    let text = servers.iter().fold(finished.said(), redact);
    // The names of weights hold a digest that moves with every setting.
    let from = text.find("preceptor-").map(|at| at + "preceptor-".len());
    match from {
        Some(from) => text.replace(&text[from..from + 12].to_owned(), "[digest]"),
        None => text,
    }
}

#[test]
fn adapters_travel_to_the_servers_and_log_probabilities_agree() {
    let fakes = [FakeVllm::new(Faults::default()), FakeVllm::new(Faults::default())];
    let started = fakes.each_ref().map(FakeVllm::start);
    let folder = Folder::new();
    write_manifest(&folder, &[&started[0], &started[1]]);
    run(&folder, &["sampling.temperature=0.7"]).expect_done();
    let steps = of_kind(&folder, "runs", "train-steps");
    assert_eq!(steps.len(), 3);
    for step in &steps {
        let measures = &step["measures"];
        assert!(measures["sampler-gap"].as_f64() < Some(1e-4), "{step}");
        assert!(measures["sampler-effective-size"].as_f64() > Some(0.999), "{step}");
        assert!(measures["gradient-norm"].as_f64() > Some(0.0), "{step}");
    }
    let costs = of_kind(&folder, "runs", "train-costs");
    assert_eq!(costs.len(), 3);
    for cost in costs {
        let tokens = |key: &str| cost["usage"][key].as_u64().expect("a count");
        let generated: u64 = cost["servers"]
            .as_object()
            .into_iter()
            .flat_map(|servers| servers.values())
            .map(|server| server["num-tokens"].as_u64().expect("a count"))
            .sum();
        assert_eq!(tokens("num_generated_tokens"), generated, "{cost}");
        assert!(tokens("num_prompt_tokens") >= 8 * 60, "every call reads its prompt: {cost}");
    }
    for (index, step) in servers(&folder).iter().enumerate() {
        assert_eq!((step.len(), num_rollouts(step)), (2, 8), "each prompt went to one server");
        for server in step {
            assert_eq!(server["num-rollouts"], 4, "{server}");
            assert_eq!(server["repeats"], true, "{server}");
            assert!(server["logprob-gap"].as_f64() < Some(1e-4), "{server}");
            let version = format!("-v{index:06}");
            assert!(server["weights"].as_str().expect("named").ends_with(&version), "{server}");
        }
    }
    for fake in &fakes {
        assert_eq!(fake.loaded.lock().unwrap().len(), 3);
        assert_eq!(fake.names(), [""; 0], "nothing is left on the servers");
    }
    let left: Vec<_> = walk(&folder.path("weights"));
    assert_eq!(left, ["next-version"], "nor in the folder of weights");
    // Everything is there, so nothing is asked again.
    drop(started);
    run(&folder, &["sampling.temperature=0.7"]).expect_done();
}

/// Names of the files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        if entry.path().is_dir() {
            names.extend(walk(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn all_weights_travel_as_folders() {
    let fake = FakeVllm::new(Faults::default());
    let server = fake.start();
    let folder = Folder::new();
    write_manifest(&folder, &[&server]);
    let text = std::fs::read_to_string(folder.path("served.toml")).unwrap();
    folder.write("served.toml", &text.replace("[train.lora]\nrank = 2\n", ""));
    run(&folder, &["train.schedule.learning-rate=1e-3"]).expect_done();
    assert_eq!(fake.loaded.lock().unwrap().len(), 3);
    for step in of_kind(&folder, "runs", "train-steps") {
        assert!(step["measures"]["sampler-gap"].as_f64() < Some(1e-4), "{step}");
    }
}

#[test]
fn a_server_that_dies_is_left_out_and_one_that_restarts_gets_its_weights_again() {
    let dying = FakeVllm::new(Faults { closes_from: Some(3), ..Faults::default() });
    let restarting = FakeVllm::new(Faults { restarts_at: Some(5), ..Faults::default() });
    let started = [dying.start(), restarting.start()];
    let folder = Folder::new();
    write_manifest(&folder, &[&started[0], &started[1]]);
    let finished = run(&folder, &[]).expect_done();
    assert!(finished.stderr.contains("rollout servers without an answer"), "{}", finished.stderr);
    let steps = servers(&folder);
    assert!(steps.iter().all(|step| num_rollouts(step) == 8), "{steps:?}");
    let loaded = restarting.loaded.lock().unwrap().clone();
    let distinct: BTreeSet<_> = loaded.iter().collect();
    assert!(distinct.len() == 3 && loaded.len() > 3, "the first weights again: {loaded:?}");
}

#[test]
fn without_servers_no_step_is_made_and_the_next_run_resumes() {
    // Two probes and eight rollouts per step: the third step fails in the middle.
    let fake = FakeVllm::new(Faults { closes_from: Some(25), ..Faults::default() });
    let server = fake.start();
    let folder = Folder::new();
    write_manifest(&folder, &[&server]);
    let failed = run(&folder, &[]);
    assert_eq!(failed.code, Some(3), "{}", failed.said());
    let text = said(&failed, &[&server]);
    let (steps, error) = text.split_once("error:").expect("it failed");
    assert!(steps.contains("step 2/3") && !steps.contains("step 3/3"), "{steps}");
    insta::assert_snapshot!("no-server-left", error);

    let left = walk(&folder.path("weights"));
    assert_eq!(left, ["next-version"], "the folders of weights are removed");
    // As if the process had been killed.
    let run_folder = std::fs::read_dir(folder.path("weights")).unwrap().next().unwrap().unwrap();
    let stale = run_folder.path().join("preceptor-stale-v000001");
    std::fs::create_dir(&stale).unwrap();

    let next = FakeVllm::new(Faults::default());
    let server = next.start();
    write_manifest(&folder, &[&server]);
    run(&folder, &[]).expect_done();
    assert_eq!(of_kind(&folder, "runs", "train-steps").len(), 3);
    let loaded = next.loaded.lock().unwrap().clone();
    assert_eq!(loaded.len(), 1);
    assert!(loaded[0].ends_with("-v000003"), "no name is used twice: {loaded:?}");
    assert!(!stale.exists(), "weights of a killed process are removed");
}

#[test]
fn repeated_steps_take_the_recorded_rollouts() {
    let first = FakeVllm::new(Faults::default());
    let server = first.start();
    let folder = Folder::new();
    write_manifest(&folder, &[&server]);
    run(&folder, &["sampling.temperature=0.7"]).expect_done();
    let steps = of_kind(&folder, "runs", "train-steps");

    // Without its checkpoints a longer run begins again, and this server samples other rollouts.
    std::fs::remove_dir_all(folder.path("runs/training")).unwrap();
    let other = FakeVllm::new(Faults { seed_shift: 1, ..Faults::default() });
    let server = other.start();
    write_manifest(&folder, &[&server]);
    let again = run(&folder, &["sampling.temperature=0.7", "train.steps=4"]).expect_done();
    assert!(!again.stderr.contains("does not reproduce"), "{}", again.stderr);
    assert!(again.stderr.contains("step 1/4"), "{}", again.stderr);
    let num_asked = other.num_rollouts.load(Ordering::SeqCst);
    assert_eq!(num_asked, 10, "two probes and the eight rollouts of the last step");
    assert_eq!(of_kind(&folder, "runs", "train-steps")[..3], steps);
}

#[test]
fn servers_that_cannot_be_used_are_named_with_what_to_do() {
    let rank = "LoRA rank 64 is greater than max_lora_rank 16.";
    let cases: [(&str, Faults, &[&str]); 4] = [
        ("without-flags", Faults { no_adapters: true, ..Faults::default() }, &[]),
        ("rank-too-large", Faults { refuses: Some(rank), ..Faults::default() }, &[]),
        ("other-weights", Faults { ignores_adapters: true, ..Faults::default() }, &[]),
        (
            "raw-logprobs",
            Faults { raw_logprobs: true, ..Faults::default() },
            &["sampling.temperature=0.3"],
        ),
    ];
    for (name, faults, set) in cases {
        let server = FakeVllm::new(faults).start();
        let folder = Folder::new();
        write_manifest(&folder, &[&server]);
        let finished = run(&folder, set);
        assert_eq!(finished.code, Some(3), "{name}: {}", finished.said());
        let text = said(&finished, &[&server]);
        let text = text.split_once("error:").map_or(text.as_str(), |(_, error)| error);
        insta::assert_snapshot!(format!("server-{name}"), text);
    }
}

#[test]
fn served_rollouts_that_cannot_be_are_refused_by_the_plan() {
    let folder = Folder::new();
    let server = FakeVllm::new(Faults::default()).start();
    write_manifest(&folder, &[&server]);
    for (name, set) in [
        ("cut", &["sampling.top-p=0.9"][..]),
        ("stop", &["sampling.stop=[\"\\n\"]"]),
        ("old-logprobs", &["train.old-logprobs=sampler"]),
        ("temperature", &["train.objective.temperature=1.0", "sampling.temperature=0.5"]),
        ("sft", &["train.kind=sft"]),
        ("url", &["rollouts.base-urls=[\"http://node1:8000/v1\"]"]),
        ("server", &["rollouts.server=tgi"]),
    ] {
        let set = set.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["plan", "served.toml"].into_iter().chain(set).collect();
        let finished = folder.run(&arguments);
        assert_eq!(finished.code, Some(2), "{name}: {}", finished.said());
        insta::assert_snapshot!(format!("served-refused-{name}"), said(&finished, &[&server]));
    }
}

#[test]
fn a_plan_measures_the_servers_and_estimates_with_their_speed() {
    let folder = Folder::new();
    let server = FakeVllm::new(Faults::default()).start();
    write_manifest(&folder, &[&server]);
    let plan = |arguments: &[&str]| folder.run(&[&["plan", "served.toml"], arguments].concat());
    let done = plan(&["--probe", "--json", "--set", "rollouts.concurrency=2"]).expect_done();
    assert!(done.stderr.contains("each rollout server samples"), "{}", done.stderr);
    let found: Value = serde_json::from_str(&done.stdout).unwrap();
    let assumed = &found["estimate"]["assumed"];
    assert!(assumed["served-per-sec"].as_f64().is_some_and(|speed| speed > 0.0), "{assumed}");
    assert_eq!(found["estimate"]["server-gpus"], 1);
    folder.write("served.toml", &{
        let text = std::fs::read_to_string(folder.path("served.toml")).unwrap();
        text.split("[rollouts]").next().unwrap().to_owned()
    });
    insta::assert_snapshot!(plan(&["--probe"]).said(), @r"
    exit Some(2)
    error: failed to use `--probe`: the manifest names no rollout servers
    hint: it measures the servers of a `[rollouts]` table; leave it out
    ");
}

#[test]
fn a_whole_group_is_judged_while_others_are_sampled() {
    // Two probes before the step, then eight rollouts of two prompts: the last is held back.
    let fake = FakeVllm::new(Faults { holds: Some(9), ..Faults::default() });
    let (server, asked) = (fake.start(), Arc::clone(&fake));
    let judge = Server::start(move |_| {
        asked.judged.store(true, Ordering::SeqCst);
        says("yes")
    });
    let folder = Folder::new();
    write_manifest(&folder, &[&server]);
    let text = std::fs::read_to_string(folder.path("served.toml")).unwrap();
    let text = text.replace("random", "judge");
    let judge = format!(
        "[judge]\nmodel = \"j\"\n[endpoints.j]\nbase-urls = [\"{}\"]\nmodel = \"j\"\n",
        judge.url()
    );
    folder.write("served.toml", &(text + &judge));
    run(&folder, &["train.steps=1"]).expect_done();
    let cost = of_kind(&folder, "runs", "train-costs").remove(0);
    let spans = cost["timeline"].as_array().expect("a timeline");
    let time = |span: &Value, key: &str| span[key].as_f64().expect("seconds");
    let sampled = spans.iter().find(|span| span["phase"] == "rollouts").expect("rollouts");
    assert_eq!(sampled["actor"], root(&server));
    let judged = spans.iter().find(|span| span["phase"] == "reward").expect("rewards");
    assert_eq!(judged["actor"], "trainer");
    assert!(time(judged, "from") < time(sampled, "to"), "{cost}");
    assert!(spans.iter().all(|span| time(span, "from") <= time(span, "to")), "{cost}");
}
