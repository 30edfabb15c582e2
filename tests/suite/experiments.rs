//! Every manifest in `experiments/`, resolved; and what is wrong with manifests that are wrong.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_experiment::Error;

use crate::workspace::{Workspace, health_row};

#[test]
fn every_manifest_resolves_to_the_plan_that_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments");
    // Manifests name prompt files from where commands are run.
    std::env::set_current_dir(folder.join("..")).unwrap();
    let manifests = |folder: &Path| {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_manifest = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "toml")
                && !path.ends_with("suite.toml")
        };
        paths.filter(is_manifest).collect::<Vec<_>>()
    };
    let suites = ["pocket", "paper", "small"].map(|suite| folder.join(suite));
    let folders = [vec![folder.clone()], suites.to_vec()].concat();
    let mut names: Vec<PathBuf> = folders.iter().flat_map(|folder| manifests(folder)).collect();
    names.sort();
    assert!(names.len() >= 34, "{names:?}");
    for path in names {
        let mut workspace = with_data(&folder, path.parent().unwrap());
        let plan = workspace.plan(&path, &[]).unwrap();
        let record = plan.record();
        let mut out = format!("{}\nseeds {:?}\n", record.title, record.seeds);
        for left_out in &record.left_out {
            out.push_str(&format!("left out: {} ({} cells)\n", left_out.part, left_out.num_cells));
        }
        for cell in record.cells.iter().filter(|cell| cell.seed == record.seeds[0]) {
            out.push_str(&format!(
                "\n{:?}\n{} prompts\n{}",
                cell.axes,
                cell.prompts.len(),
                cell.settings
            ));
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let suite = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let suite = if suite == "experiments" { String::new() } else { format!("{suite}-") };
        insta::assert_snapshot!(format!("plan-{suite}{name}"), out);
    }
}

/// Creates a workspace with invented rows for the manifests in the folder `of` of `experiments`.
fn with_data(experiments: &Path, of: &Path) -> Workspace {
    let workspace = Workspace::new();
    // Invented rows under ids of the test split: the plan has their number, not their texts.
    let splits = experiments.join("../crates/benchmarks/splits/healthbench-test.txt");
    let ids = fs::read_to_string(splits).expect("a list");
    let rows: String = ids.lines().take(5).enumerate().map(|(i, id)| health_row(id, i)).collect();
    workspace.register_data("healthbench-random500", "rows.jsonl");
    workspace.write("data/rows.jsonl", &rows);
    if ["paper", "small"].iter().any(|suite| of.ends_with(suite)) {
        // As many as a step takes, of every split.
        let more: String = (5..400).map(|i| health_row(&format!("invented-{i}"), i)).collect();
        workspace.register_data("healthbench", "main.jsonl");
        workspace.write("data/main.jsonl", &(rows + &more));
        let num_problems = if of.ends_with("small") { 450 } else { 300 };
        let problem = |i: usize| {
            format!(
                "{{\"problem\": \"p{i}\", \"solution\": \"s\", \"answer\": \"{i}\", \
                 \"subject\": \"s\", \"level\": 1, \"unique_id\": \"u{i}\"}}\n"
            )
        };
        workspace.register_data("math500", "math500.jsonl");
        workspace.write("data/math500.jsonl", &(0..num_problems).map(problem).collect::<String>());
        let problem = |i: usize| format!("{{\"question\": \"q{i}\", \"answer\": \"#### {i}\"}}\n");
        workspace.register_data("gsm8k", "gsm8k.jsonl");
        workspace.write("data/gsm8k.jsonl", &(0..150).map(problem).collect::<String>());
    }
    workspace
}

/// The settings of `suite.toml` for a short part and for the part for the CPU.
#[test]
fn the_parts_of_every_suite_resolve() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments");
    std::env::set_current_dir(folder.join("..")).unwrap();
    let mut num_parts = 0;
    for suite in ["pocket", "paper", "small"].map(|suite| folder.join(suite)) {
        let text = fs::read_to_string(suite.join("suite.toml")).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        for member in table["manifest"].as_array().unwrap() {
            let path = suite.join(member["file"].as_str().unwrap());
            let settings = |value: Option<&toml::Value>| -> Option<Vec<String>> {
                let settings = value?.as_array()?.iter();
                Some(settings.map(|setting| setting.as_str().unwrap().to_owned()).collect())
            };
            let quick = settings(member.get("quick"));
            let cpu = member.get("cpu").map(|cpu| settings(cpu.get("set")).unwrap_or_default());
            // `--quick` on the CPU adds its settings to those of the part for the CPU.
            let both = cpu.clone().zip(quick.clone()).map(|(cpu, quick)| [cpu, quick].concat());
            for part in [quick, cpu, both].into_iter().flatten() {
                let settings: Vec<&str> = part.iter().map(String::as_str).collect();
                let plan = with_data(&folder, &suite).plan(&path, &settings);
                plan.unwrap_or_else(|error| panic!("{}, {settings:?}: {error}", path.display()));
                num_parts += 1;
            }
        }
    }
    assert!(num_parts >= 12, "{num_parts}");
}

/// The message for a manifest that can't be used.
fn refusal(manifest: &str, settings: &[&str]) -> String {
    let mut workspace = Workspace::new();
    let path = workspace.write("wrong.toml", manifest);
    let error: Error = workspace.plan(&path, settings).expect_err("the manifest is wrong");
    assert!(error.is_users_input(), "{error}");
    workspace.redact(&error.to_string())
}

const RIGHT: &str = r#"title = "t"
[policy]
model = "m"
[benchmark]
kind = "arithmetic"
limit = 2
[sampling]
group-size = 2
[aggregator]
kind = "single"
"#;

#[test]
fn what_is_wrong_is_named_with_its_line_and_what_is_allowed() {
    let wrong = |from: &str, to: &str| {
        assert!(RIGHT.contains(from));
        refusal(&RIGHT.replace(from, to), &[])
    };
    let messages = [
        wrong("group-size = 2", "group-sise = 2"),
        wrong("group-size = 2", "group-size = \"two\""),
        wrong("group-size = 2", "group-size = 0"),
        wrong("group-size = 2", "temperature = -0.5"),
        wrong("limit = 2", "terms = 99"),
        wrong("limit = 2", "digits = \"one\""),
        wrong("limit = 2", "limit = 0"),
        wrong("limit = 2", "limt = 2"),
        wrong("kind = \"arithmetic\"", "kind = \"arithmetics\""),
        wrong("kind = \"arithmetic\"\n", ""),
        wrong("kind = \"single\"", "kind = \"median\""),
        wrong("[aggregator]\nkind = \"single\"\n", ""),
        wrong("title = \"t\"", "titel = \"t\""),
        wrong("title = \"t\"", "title = \"t"),
        wrong("title = \"t\"", "title = \"t\"\nseeds = []"),
        wrong("title = \"t\"", "title = \"t\"\nseeds = [1, 1]"),
        wrong("title = \"t\"", "title = \"t\"\nextends = \"base/none.toml\""),
        wrong("limit = 2", "limit = 2\n[matrix]\n\"sampling.group-size\" = 4"),
        wrong("limit = 2", "limit = 2\n[matrix]\n\"sampling.group-size\" = [4, 5000]"),
        wrong("limit = 2", "limit = 2\n[matrix]\n\"sampling.group-size\" = [4, 4]"),
        wrong("limit = 2", "limit = 2\n[[exclude]]\n\"sampling.group-size\" = 4"),
        wrong("kind = \"arithmetic\"\nlimit = 2", "kind = \"jsonl\"\npath = \"none.jsonl\""),
        wrong("limit = 2", "limit = 2\n[matrix]\n\"aggregator.kind\" = [\"median\"]"),
        refusal(
            &format!("{RIGHT}\n[matrix]\n\"sampling.group-size\" = [4]"),
            &["sampling.group-size=5000"],
        ),
        refusal(RIGHT, &["sampling.group-size"]),
        refusal(RIGHT, &["sampling.group-size=0"]),
        refusal(RIGHT, &["sampling.group_size=1"]),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn what_is_wrong_with_a_role_is_named_with_its_line_and_what_is_allowed() {
    let with = |text: &str| refusal(&format!("{RIGHT}{text}"), &[]);
    let aggregator = |text: &str| refusal(&RIGHT.replace("kind = \"single\"", text), &[]);
    let messages = [
        with("[reward]\nterms = []"),
        with("[reward]\nkind = \"rubric\""),
        with("[reward]\nterms = [{ kind = \"answer-mach\" }]"),
        with("[reward]\nterms = [{ kind = \"format\", weight = \"much\" }]"),
        with("[reward]\nterms = [{ kind = \"rubric\" }]"),
        with("[reward]\nterms = [{ kind = \"rubric\", prompt-file = \"none.md\" }]"),
        with("[reward]\nterms = [{ kind = \"rubric\", prompt-text = \"write criteria\" }]"),
        with("[reward]\nterms = [{ kind = \"judge\" }]\n[judge]\nmodel = \"m\"\nattempts = 0"),
        with("[anchor]\ntemperature = -1.0"),
        with("[grader]\nprofile = \"healthbench-strict\""),
        aggregator("kind = \"synthesis\"\nfan-in = 1"),
        aggregator("kind = \"self-bon\"\ntemperature = -5"),
        aggregator("kind = \"self-bon\"\nmax-new-tokens = 0"),
        aggregator("kind = \"judge-bon\""),
        with(
            "[reward]\nterms = [{ kind = \"judge-scalar\" }]\n[judge]\nmodel = \"m\"\nkind = \"margin\"",
        ),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn what_is_wrong_with_a_contrast_is_named_with_its_line_and_what_is_allowed() {
    let matrix = "[matrix]\n\"aggregator.kind\" = [\"single\", \"majority\"]\n\
                  \"sampling.group-size\" = [2, 4]\n";
    let right = "[[contrast]]\nname = \"votes\"\na = \"aggregator.kind=majority,sampling.group-size=4\"\n\
                 b = \"aggregator.kind=single,sampling.group-size=4\"\n";
    let mut workspace = Workspace::new();
    let path = workspace.write("right.toml", &format!("{RIGHT}{matrix}{right}"));
    let plan = workspace.plan(&path, &[]).unwrap();
    assert_eq!(plan.record().contrasts.len(), 1);
    let wrong = |from: &str, to: &str| {
        assert!(right.contains(from));
        refusal(&format!("{RIGHT}{matrix}{}", right.replace(from, to)), &[])
    };
    let messages = [
        wrong("kind=majority", "kind=median"),
        wrong("a = \"aggregator.kind", "a = \"aggregator.kinds"),
        wrong("kind=majority,sampling.group-size=4", "kind=majority"),
        wrong("kind=majority", "kind=single"),
        wrong("b = \"aggregator.kind=single,sampling.group-size=4\"", "b = \"initial\""),
        wrong("name = \"votes\"", "name = \"votes\"\nsplit = \"held-out\""),
        wrong("name = \"votes\"", "name = \"votes\"\nmetric = \"policy\""),
        wrong("name = \"votes\"", "name = \"votes\"\nmetric = \"scores\""),
        wrong("name = \"votes\"", "name = \"votes\"\nmetrics = \"score\""),
        wrong("name = \"votes\"\n", ""),
        wrong("[[contrast]]", "[contrast]"),
        refusal(&format!("{RIGHT}{matrix}{right}{right}"), &[]),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}
