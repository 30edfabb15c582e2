//! The paper's suite from its own manifests, at toy size: models of the four families with random
//! weights, a scripted server as GPT-4o, two steps, every report. What the suite needs and can't do
//! fails here.

use std::fs;
use std::path::Path;

use preceptor_testkit::server::{Act, Received, Server, says};
use serde_json::{Value, json};

use crate::process::Folder;
use crate::reproduce::copy;

/// The replacements that make the manifests small: models, endpoints, limits, steps and batches.
const SMALLER: [(&str, &str); 16] = [
    ("steps = 1000", "steps = 2"),
    ("prompts-per-step = 256", "prompts-per-step = 2"),
    ("prompts-per-step = 32", "prompts-per-step = 2"),
    ("evaluate-every = 50", "evaluate-every = 1"),
    ("checkpoint-every = 50", "checkpoint-every = 1"),
    ("warm-up-updates = 30", "warm-up-updates = 1"),
    ("seeds = [0, 1, 2]", "seeds = [0]"),
    ("seeds = [0, 1, 2, 3, 4, 5, 6]", "seeds = [0]"),
    ("group-size = 8", "group-size = 4"),
    ("max-new-tokens = 1024", "max-new-tokens = 64"),
    ("max-new-tokens = 1536", "max-new-tokens = 64"),
    ("max-new-tokens = 2048", "max-new-tokens = 200"),
    ("max-new-tokens = 3072", "max-new-tokens = 200"),
    ("split = \"train\"", "split = \"train\"\nlimit = 3"),
    ("split = \"test\"", "split = \"test\"\nlimit = 2"),
    ("split = \"validation\"", "split = \"validation\"\nlimit = 4"),
];
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity");
/// The suite's models, each as a fixture of its family.
const MODELS: [(&str, &str); 5] = [
    ("gemma3-4b", "gemma3"),
    ("qwen3-4b", "qwen3"),
    ("llama3.1-8b", "llama"),
    ("qwen2.5-1.5b", "qwen2"),
    ("qwen2.5-7b", "qwen2"),
];

/// GPT-4o as the suite asks it: verdicts on a rubric's items, and on criteria.
fn gpt_4o(received: &Received) -> Act {
    let asked = received.asked();
    let is_met = !asked.len().is_multiple_of(3);
    if asked.contains("criteria_met") {
        says(&format!("{{\"explanation\": \"\", \"criteria_met\": {is_met}}}"))
    } else {
        says(if is_met { "yes" } else { "no" })
    }
}

/// The suite in `folder`, made small.
fn write_suite(folder: &Folder, server: &Server) {
    fs::create_dir(folder.path("experiments")).expect("a new folder");
    let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/paper");
    copy(Path::new(suite), &folder.path("experiments/paper"));
    let mut unused: Vec<&str> = SMALLER.iter().map(|(from, _)| *from).collect();
    let folders = ["experiments/paper", "experiments/paper/base"];
    let files = folders.iter().flat_map(|name| fs::read_dir(folder.path(name)).expect("there"));
    for path in files.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()) {
        let mut text = fs::read_to_string(&path).expect("text");
        for (from, to) in SMALLER {
            unused.retain(|known| *known != from || !text.contains(from));
            let lines = text.lines().map(|line| if line == from { to } else { line });
            text = lines.collect::<Vec<_>>().join("\n") + "\n";
        }
        text = text.replace("https://api.openai.com/v1", &server.url());
        fs::write(&path, text).expect("writable");
    }
    assert!(unused.is_empty(), "the manifests have no `{unused:?}`");
}

/// The paper's models by name, with the sampling that the registry gives them, and room for prompts.
fn write_models(folder: &Folder) {
    let built_in = include_str!("../../../files/registry/models.toml");
    let mut registry: toml::Table = toml::from_str(built_in).expect("the registry is TOML");
    registry.retain(|name, _| MODELS.iter().any(|(known, _)| *known == name));
    for (name, fixture) in MODELS {
        let path = folder.path(name);
        fs::create_dir(&path).expect("a new folder");
        for entry in fs::read_dir(Path::new(FIXTURES).join(fixture)).expect("a fixture") {
            let entry = entry.expect("readable").path();
            if entry.is_file() {
                fs::copy(&entry, path.join(entry.file_name().expect("named"))).expect("copied");
            }
        }
        let config = fs::read_to_string(path.join("config.json")).expect("a configuration");
        let mut config: Value = serde_json::from_str(&config).expect("JSON");
        config["max_position_embeddings"] = json!(8192);
        fs::write(path.join("config.json"), config.to_string()).expect("writable");
        // Random weights end a reply seldom: more tokens end it here.
        let generation = path.join("generation_config.json");
        let text = fs::read_to_string(&generation).expect("a configuration");
        let mut settings: Value = serde_json::from_str(&text).expect("JSON");
        settings["eos_token_id"] = (0..24).chain([319]).collect::<Vec<_>>().into();
        fs::write(&generation, settings.to_string()).expect("writable");
        let source = toml::toml! { kind = "path" };
        registry[name]["source"] = toml::Value::Table(source);
        let path = toml::Value::String(path.display().to_string());
        registry[name]["source"].as_table_mut().expect("a table").insert("path".into(), path);
    }
    folder.write("config/models.toml", &toml::to_string(&registry).expect("TOML"));
}

/// A few invented rows of both benchmarks, in their published schemas.
fn write_data(folder: &Folder) {
    let problem = |i: usize| {
        let row = json!({
            "problem": format!("What is {i} plus 2?"), "solution": "", "answer": (i + 2).to_string(),
            "subject": "Algebra", "level": 1 + i % 5, "unique_id": format!("test/algebra/{i}.json"),
        });
        format!("{row}\n")
    };
    let test_ids = include_str!("../../../benchmarks/splits/healthbench-test.txt");
    let ids =
        (0..60).map(|i| format!("toy-{i}")).chain(test_ids.lines().take(3).map(str::to_owned));
    let case = |id: String| {
        let item = |text: &str, points: i32| json!({"criterion": format!("{text} {id}"), "points": points, "tags": ["axis:accuracy"]});
        let row = json!({
            "prompt_id": id, "prompt": [{"role": "user", "content": format!("My head aches, {id}.")}],
            "example_tags": ["theme:toy"],
            "rubrics": [item("names water for", 5), item("frightens", -3)],
        });
        format!("{row}\n")
    };
    folder.write("data/math500.jsonl", &(0..4).map(problem).collect::<String>());
    folder.write("data/healthbench.jsonl", &ids.map(case).collect::<String>());
    let entry = |name: &str| {
        format!(
            "[{name}]\nsummary = \"s\"\nlicense = \"l\"\n[[{name}.sources]]\nfile = \"{name}.jsonl\"\n"
        )
    };
    folder.write("config/data.toml", &(entry("math500") + &entry("healthbench")));
}

#[test]
fn every_manifest_of_the_papers_suite_runs_to_its_report() {
    let folder = Folder::new();
    for name in ["config", "data"] {
        fs::create_dir(folder.path(name)).expect("a new folder");
    }
    let server = Server::start(gpt_4o);
    write_suite(&folder, &server);
    write_models(&folder);
    write_data(&folder);
    let mut command = folder.command(&["reproduce", "paper"]);
    command.env("OPENAI_API_KEY", "sk-scripted").env("PRECEPTOR_DATA_DIR", folder.path("data"));
    let done = folder.finish(&mut command).expect_done();

    let reports = folder.path("reports/paper");
    let table = |experiment: &str, name: &str| {
        let path = reports.join(experiment).join("tables").join(format!("{name}.csv"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let trained = [
        "main-math",
        "main-health",
        "selectors-rl",
        "controls-math",
        "judges",
        "rl-vs-sft",
        "qwen2.5-math",
    ];
    let estimated = ["aggregators-math", "aggregators-health", "scaling"];
    for experiment in trained.iter().chain(&estimated) {
        assert!(table(experiment, "scores").lines().count() > 1, "{experiment}");
        assert!(reports.join(experiment).join("page.html").exists(), "{experiment}");
    }
    for experiment in trained {
        assert!(table(experiment, "training_scores").lines().count() > 3, "{experiment}");
        assert!(table(experiment, "training_steps").contains("kept-mass"), "{experiment}");
    }
    assert!(table("main-health", "training_scores").contains("held-out"));
    assert!(!table("main-health", "training_scores").contains("test-time"));
    assert!(table("aggregators-health", "measures").contains("cut-off"));
    assert!(
        fs::read_to_string(reports.join("tables/claims.csv")).expect("claims").contains("judges")
    );
    assert!(done.stderr.contains("the validation loss is"), "{}", done.stderr);

    // Rubrics of random weights can't be read, so the other judge of rewards has nothing to check.
    let asked = server.received();
    assert!(asked.iter().all(|call| call.body["model"].as_str() == Some("gpt-4o")));
    assert!(asked.iter().any(|call| !call.asked().contains("criteria_met")), "rewards");
    assert!(asked.iter().any(|call| call.asked().contains("criteria_met")), "grades");
}
