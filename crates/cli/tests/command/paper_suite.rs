//! The suites `paper` and `one-gpu` from their own manifests, at toy size: models of the four families with random
//! weights, a scripted server as GPT-4o, two steps, every report. What the suite needs and can't do
//! fails here.

use std::fs;
use std::path::Path;

use preceptor_testkit::server::{Act, Received, Server, says};
use serde_json::{Value, json};

use crate::process::Folder;
use crate::reproduce::copy;

/// The replacements that make the paper's manifests small: limits, steps and batches.
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
/// Those of the suite for one GPU, whose smallest size is made smaller still.
const SMALLER_ONE_GPU: [(&str, &str); 8] = [
    ("steps = 10", "steps = 2"),
    ("prompts-per-step = 8", "prompts-per-step = 2"),
    ("prompts = 30", "prompts = 3"),
    ("group-size = 8", "group-size = 4"),
    ("max-new-tokens = 768", "max-new-tokens = 64"),
    ("max-new-tokens = 1024", "max-new-tokens = 64"),
    ("max-new-tokens = 1536", "max-new-tokens = 200"),
    ("max-new-tokens = 2048", "max-new-tokens = 200"),
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

/// The suite `name` in `folder`, made small.
fn write_suite(folder: &Folder, name: &str, smaller: &[(&str, &str)], server: &Server) {
    fs::create_dir(folder.path("experiments")).expect("a new folder");
    let suite = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments")).join(name);
    let written = format!("experiments/{name}");
    copy(&suite, &folder.path(&written));
    let mut unused: Vec<&str> = smaller.iter().map(|(from, _)| *from).collect();
    let folders = [format!("{written}/base"), written];
    let files = folders.iter().flat_map(|name| fs::read_dir(folder.path(name)).expect("there"));
    for path in files.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()) {
        let mut text = fs::read_to_string(&path).expect("text");
        for (from, to) in smaller {
            unused.retain(|known| known != from || !text.contains(from));
            let lines = text.lines().map(|line| if line == *from { *to } else { line });
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
fn write_data(folder: &Folder, num_problems: usize, [num_cases, num_tests]: [usize; 2]) {
    let problem = |i: usize| {
        let row = json!({
            "problem": format!("What is {i} plus 2?"), "solution": "", "answer": (i + 2).to_string(),
            "subject": "Algebra", "level": 1 + i % 5, "unique_id": format!("test/algebra/{i}.json"),
        });
        format!("{row}\n")
    };
    let test_ids = include_str!("../../../benchmarks/splits/healthbench-test.txt");
    let ids = (0..num_cases)
        .map(|i| format!("toy-{i}"))
        .chain(test_ids.lines().take(num_tests).map(str::to_owned));
    let case = |id: String| {
        let item = |text: &str, points: i32| json!({"criterion": format!("{text} {id}"), "points": points, "tags": ["axis:accuracy"]});
        let row = json!({
            "prompt_id": id, "prompt": [{"role": "user", "content": format!("My head aches, {id}.")}],
            "example_tags": ["theme:toy"],
            "rubrics": [item("names water for", 5), item("frightens", -3)],
        });
        format!("{row}\n")
    };
    folder.write("data/math500.jsonl", &(0..num_problems).map(problem).collect::<String>());
    folder.write("data/healthbench.jsonl", &ids.map(case).collect::<String>());
    let entry = |name: &str| {
        format!(
            "[{name}]\nsummary = \"s\"\nlicense = \"l\"\n[[{name}.sources]]\nfile = \"{name}.jsonl\"\n"
        )
    };
    folder.write("config/data.toml", &(entry("math500") + &entry("healthbench")));
}

/// A folder with a suite, its models and data.
fn suite(name: &str, smaller: &[(&str, &str)], server: &Server, sizes: [usize; 3]) -> Folder {
    let folder = Folder::new();
    for name in ["config", "data"] {
        fs::create_dir(folder.path(name)).expect("a new folder");
    }
    let [num_problems, num_cases, num_tests] = sizes;
    write_suite(&folder, name, smaller, server);
    write_data(&folder, num_problems, [num_cases, num_tests]);
    folder
}

#[test]
fn every_manifest_of_the_papers_suite_runs_to_its_report() {
    let server = Server::start(gpt_4o);
    let folder = suite("paper", &SMALLER, &server, [4, 60, 3]);
    write_models(&folder);
    insta::assert_snapshot!(folder.run(&["reproduce", "paper", "--quick"]).said(), @"
    exit Some(2)
    error: failed to use `--quick`: suite `paper` has no short part
    hint: see its plan with `--dry-run`, or take `pocket`, `small` or `one-gpu`
    ");
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

#[test]
fn every_manifest_of_the_suite_for_one_gpu_runs_to_its_report() {
    let server = Server::start(gpt_4o);
    let folder = suite("one-gpu", &SMALLER_ONE_GPU, &server, [40, 60, 3]);
    write_models(&folder);
    let run = |hours: f64, more: &[&str]| {
        let hours = hours.to_string();
        let arguments = ["reproduce", "one-gpu", "--hours", &hours];
        let mut command = folder.command(&[&arguments, more].concat());
        command.env("OPENAI_API_KEY", "sk-scripted").env("PRECEPTOR_DATA_DIR", folder.path("data"));
        folder.finish(&mut command).expect_done()
    };
    // Less and less time, until the smallest size is left.
    let mut hours = 1e9;
    loop {
        let plan = run(hours, &["--dry-run", "--json"]).stdout;
        let chosen = serde_json::Deserializer::from_str(&plan).into_iter::<Value>().next();
        let chosen = chosen.expect("a size").expect("JSON");
        if chosen["size"] == chosen["sizes"] {
            break;
        }
        hours = 0.999 * chosen["estimate"]["hours"].as_f64().expect("a number");
    }
    let done = run(hours, &[]);
    assert!(done.stderr.contains("training runs of 2 steps with 2 prompts"), "{}", done.stderr);
    let reports = folder.path("reports/one-gpu");
    for (experiment, is_trained) in [
        ("aggregators-math", false),
        ("aggregators-health", false),
        ("scaling", false),
        ("selectors-rl", true),
        ("main-health", true),
        ("judges", true),
        ("rl-vs-sft", true),
    ] {
        let read = |name: &str| fs::read_to_string(reports.join(experiment).join(name));
        assert!(read("tables/scores.csv").expect("scores").lines().count() > 1, "{experiment}");
        let trained = read("tables/training_scores.csv").is_ok_and(|text| text.lines().count() > 1);
        assert_eq!(trained, is_trained, "{experiment}");
    }
    let page = fs::read_to_string(reports.join("page.html")).expect("a page");
    assert!(page.contains("Size 13 of 13") && page.contains("Estimate: "), "what was scaled");
}

/// Sizes, estimates and assumptions of the suite for one GPU, as its plan prints them first. The problems are
/// invented and shorter than those of the benchmarks.
#[test]
fn hours_gpus_and_budget_choose_the_size_of_the_suite_for_one_gpu() {
    let server = Server::start(gpt_4o);
    let folder = suite("one-gpu", &[], &server, [500, 1000, 500]);
    let run = |arguments: &[&str]| {
        let plan = ["reproduce", "one-gpu", "--dry-run"];
        let mut command = folder.command(&[&plan, arguments].concat());
        command.env("PRECEPTOR_DATA_DIR", folder.path("data"));
        folder.finish(&mut command)
    };
    let head = |arguments: &[&str]| {
        let plan = run(arguments).expect_done().stdout;
        let (head, _) = plan.split_once("This is the whole suite").expect("the suite first");
        head.to_owned()
    };
    let day = head(&[]);
    let sizes: Vec<_> = [
        &["--hours", "4"][..],
        &["--hours", "24", "--gpus", "8"],
        &["--hours", "72"],
        &["--hours", "168", "--budget", "1000"],
        &["--hours", "168", "--gpus", "8", "--budget", "10000"],
        &["--hours", "168", "--gpus", "8", "--budget", "50"],
    ]
    .into_iter()
    .map(|arguments| {
        let head = head(arguments);
        let lines: Vec<_> = head.lines().skip(1).take(2).collect();
        format!("{}\n{}\n", arguments.join(" "), lines.join("\n"))
    })
    .collect();
    insta::assert_snapshot!("one-gpu-plan", format!("{day}\n{}", sizes.join("\n")));
    let refused = run(&["--hours", "0.1"]).said();
    let quick = run(&["--quick", "--hours", "3"]).said();
    let negative = run(&["--hours=-1"]).said();
    insta::assert_snapshot!("one-gpu-refused", [refused, quick, negative].join("\n"));
    let short = run(&["--quick"]).expect_done().stdout;
    assert_eq!(
        short.matches("cells and").count() + short.matches("cell and").count(),
        7,
        "{short}"
    );
}
