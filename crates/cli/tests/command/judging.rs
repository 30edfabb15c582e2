//! `judge calibrate` on the scripted judges, and `grade` on recorded verdicts and responses.

use std::fs;

use serde_json::{Value, json};

use crate::process::{Finished, Folder};
use crate::scripted::{close, endpoints, json, start};

/// Cases on which `strict` and `lenient` say: yes, yes, no, no and yes, yes, nothing that can be understood.
const CASES: &str = r#"{"prompt": "What helps?", "response": "GOOD advice", "criterion": "It helps.", "label": true}
{"prompt": "What helps?", "response": "GOOD advice", "criterion": "It is short.", "label": false}
{"response": "a bad one", "criterion": "It helps.", "label": true}

{"response": "Ignore everything you like", "criterion": "It helps.", "label": false}
{"response": "GOOD as such it is", "criterion": "It helps.", "label": [true, false, true]}
{"response": "UNCLEAR", "criterion": "It helps.", "label": true}
"#;

fn write_judges(folder: &Folder, server: &preceptor_testkit::server::Server) {
    for judge in ["strict", "lenient"] {
        let table = format!(
            "title = \"j\"\n[judge]\nmodel = \"{judge}\"\nstyle = \"yes-no\"\nattempts = 1\n"
        );
        folder.write(&format!("{judge}.toml"), &format!("{table}{}", endpoints(server, &[judge])));
    }
    folder.write("cases.jsonl", CASES);
}

#[test]
fn judges_are_measured_on_labelled_cases() {
    let (folder, server) = (Folder::new(), start());
    write_judges(&folder, &server);
    let calibrate = [
        "judge",
        "calibrate",
        "strict.toml",
        "lenient.toml",
        "--cases",
        "cases.jsonl",
        "--repeats",
        "2",
    ];
    let found = json(&folder.run(&[&["--json"][..], &calibrate].concat()).expect_done().stdout);
    let [strict, lenient] = [0, 1].map(|judge| &found["judges"][judge]);
    let counts = |judge: &Value| {
        ["true-positives", "false-positives", "true-negatives", "false-negatives"]
            .map(|key| judge[key].as_u64().expect("a count"))
    };
    // Seven pairs: the case with three labels makes three, the one without a verdict none.
    assert_eq!(counts(strict), [3, 2, 1, 1]);
    assert_eq!(counts(lenient), [3, 3, 0, 1]);
    close(&strict["accuracy"], 4.0 / 7.0);
    // F1 of yes 6/9, of no 2/5.
    close(&strict["balanced-f1"], (6.0 / 9.0 + 2.0 / 5.0) / 2.0);
    close(&lenient["balanced-f1"], (6.0 / 10.0 + 0.0) / 2.0);
    // Verdict minus label: 0, 1, -1, 0, 1/3 at 2, 2, 3, 4, 5 words, and at position 1 for the second.
    close(&strict["length-slope-per-100-words"], -100.0 / 17.0);
    close(&strict["position-slope"], 7.0 / 6.0);
    for judge in [strict, lenient] {
        assert_eq!((&judge["cases"], &judge["judged"]), (&json!(6), &json!(5)));
        assert_eq!(judge["failures"], json!([["unreadable", 1]]));
        assert_eq!(judge["retest"], 1.0, "the same on every case that it can be understood on");
    }
    let probes = |judge: &Value| -> Vec<u64> {
        let attacks = judge["probes"]["attacks"].as_array().expect("a list");
        attacks.iter().map(|attack| attack["num-passed"].as_u64().expect("a count")).collect()
    };
    assert_eq!(probes(strict), [3; 8]);
    assert_eq!(probes(lenient), [3, 3, 3, 0, 3, 3, 3, 3], "it obeys an override");
    // One of five cases differs; seven yes and three no in all.
    close(&found["krippendorff-alpha"], 1.0 - 2.0 * 9.0 / 42.0);
    let num_asked = server.received().len();
    insta::assert_snapshot!(folder.run(&calibrate).expect_done().stdout);
    // Unreadable replies are kept as well: nothing is asked twice.
    assert_eq!(server.received().len(), num_asked);
}

#[test]
fn labels_from_the_explorer_are_cases() {
    let (folder, server) = (Folder::new(), start());
    write_judges(&folder, &server);
    folder.write("labels.jsonl", include_str!("../../../../tests/fixtures/explorer/labels.jsonl"));
    let calibrate = ["--json", "judge", "calibrate", "strict.toml", "--cases", "labels.jsonl"];
    let found = json(&folder.run(&calibrate).expect_done().stdout);
    let judge = &found["judges"][0];
    assert_eq!((&judge["cases"], &judge["judged"]), (&json!(3), &json!(3)));
    // The strict judge says yes to good advice and no to the bad one; one label disagrees.
    assert_eq!((&judge["true-positives"], &judge["false-positives"]), (&json!(1), &json!(1)));
    assert_eq!(judge["true-negatives"], 1);
}

#[test]
fn cases_and_judges_that_cannot_be_used_are_named() {
    let (folder, server) = (Folder::new(), start());
    write_judges(&folder, &server);
    let calibrate = |manifest: &str, settings: &[&str]| {
        let arguments = ["judge", "calibrate", manifest, "--cases", "cases.jsonl"];
        folder.run(&[&arguments[..], settings].concat()).said()
    };
    let with_cases = |cases: &str| {
        folder.write("cases.jsonl", cases);
        calibrate("strict.toml", &[])
    };
    let good = r#"{"response": "r", "criterion": "c", "label": true}"#;
    insta::assert_snapshot!(
        "calibrate-cases-cut-line",
        with_cases(&format!("{good}\n\n{{\"response\": \"r\"\n"))
    );
    insta::assert_snapshot!(
        "calibrate-cases-label-type",
        with_cases(&format!("{good}\n{}\n", good.replace("true", "\"yes\"")))
    );
    insta::assert_snapshot!("calibrate-cases-no-labels", with_cases(&good.replace("true", "[]")));
    insta::assert_snapshot!(
        "calibrate-cases-unknown-key",
        with_cases(&good.replace("label", "lable"))
    );
    insta::assert_snapshot!("calibrate-cases-empty", with_cases("\n"));
    folder.write("cases.jsonl", good);
    folder.write("none.toml", "title = \"j\"\n");
    insta::assert_snapshot!("calibrate-no-judge-table", calibrate("none.toml", &[]));
    insta::assert_snapshot!(
        "calibrate-no-judge-model",
        calibrate("none.toml", &["--set", "judge.style=yes-no"])
    );
    insta::assert_snapshot!(
        "calibrate-unknown-model",
        calibrate("strict.toml", &["--set", "judge.model=nobody"])
    );
    insta::assert_snapshot!(
        "calibrate-unknown-style",
        calibrate("strict.toml", &["--set", "judge.style=prose"])
    );
    let other = fs::read_to_string(folder.path("strict.toml")).unwrap();
    folder.write("other.toml", &other.replace("concurrency = 1", "concurrency = 2"));
    insta::assert_snapshot!("calibrate-endpoint-twice", calibrate("strict.toml", &["other.toml"]));
    let nowhere = ["judge", "calibrate", "strict.toml", "--cases", "nowhere.jsonl"];
    insta::assert_snapshot!("calibrate-cases-path", folder.run(&nowhere).said());
    let manifest = ["judge", "calibrate", "nowhere.toml", "--cases", "cases.jsonl"];
    insta::assert_snapshot!("calibrate-manifest-path", folder.run(&manifest).said());
    assert!(server.received().is_empty(), "no model is asked");
    assert!(!folder.path("runs").exists(), "nothing was written");
}

/// The examples of the independent calculation as rows of the published schema, and their verdicts.
fn write_health(folder: &Folder) -> Value {
    let fixture = json(include_str!("../../../benchmarks/tests/healthbench/expected.json"));
    let (mut rows, mut verdicts) = (String::new(), String::new());
    for example in fixture["examples"].as_array().expect("a list") {
        let items = example["items"].as_array().expect("a list");
        let rubrics: Vec<Value> = items
            .iter()
            .map(|item| json!({"criterion": "c", "points": item["points"], "tags": item["tags"]}))
            .collect();
        let row = json!({
            "prompt_id": example["prompt_id"],
            "prompt": [{"role": "user", "content": "Q"}],
            "example_tags": example["example_tags"],
            "rubrics": rubrics,
        });
        rows.push_str(&format!("{row}\n"));
        for (index, item) in items.iter().enumerate() {
            let id = &example["prompt_id"];
            let verdict = json!({"prompt_id": id, "criterion": index, "met": item["met"]});
            verdicts.push_str(&format!("{verdict}\n"));
        }
    }
    folder.write_data("healthbench-hard50", &rows);
    folder.write("verdicts.jsonl", &verdicts);
    fixture
}

/// Grades `verdicts.jsonl` on the data that [`write_health`] wrote.
fn grade_health(folder: &Folder, arguments: &[&str]) -> Finished {
    let grade = ["grade", "healthbench", "--set", "set=hard50", "--set", "split=all"];
    folder.finish(
        folder.command(&grade).args(arguments).env("PRECEPTOR_DATA_DIR", folder.path("data")),
    )
}

#[test]
fn recorded_verdicts_have_the_scores_of_the_independent_calculation() {
    let folder = Folder::new();
    let fixture = write_health(&folder);
    let verdicts = ["--verdicts", "verdicts.jsonl"];
    let graded = grade_health(&folder, &[&verdicts[..], &["--json"]].concat()).expect_done();
    let found = json(&graded.stdout);
    let metrics = found["metrics"].as_array().expect("a list");
    let expected = fixture["metrics"].as_object().expect("a table");
    assert_eq!(metrics.len(), expected.len());
    for metric in metrics {
        let theirs = &expected[metric["metric"].as_str().expect("a name")];
        for (ours, theirs) in [
            (&metric["score"], &theirs["mean"]),
            (&metric["bootstrap-std"], &theirs["bootstrap_std_of_seeds_0_to_999"]),
        ] {
            let difference = ours.as_f64().expect("a number") - theirs.as_f64().expect("a number");
            assert!(difference.abs() <= 1e-12, "{metric}: {theirs}");
        }
        assert_eq!(metric["n-samples"], theirs["num_examples"]);
        assert_eq!(metric["unscored"], theirs["num_unscored"]);
    }
    assert_eq!((&found["responses"], &found["unscored"]), (&json!(40), &json!(5)));
    insta::assert_snapshot!(grade_health(&folder, &verdicts).expect_done().stdout);
}

#[test]
fn the_worst_of_several_repeats_is_told() {
    let folder = Folder::new();
    let row = json!({
        "prompt_id": "p", "prompt": [{"role": "user", "content": "Q"}], "example_tags": [],
        "rubrics": [
            {"criterion": "a", "points": 4, "tags": ["axis:x"]},
            {"criterion": "b", "points": -3, "tags": ["axis:y"]},
        ],
    });
    folder.write_data("healthbench-hard50", &row.to_string());
    let verdict = |repeat: u32, criterion: u32, met: bool| json!({"prompt_id": "healthbench/p", "repeat": repeat, "criterion": criterion, "met": met});
    // Scores 1, 1/4, 0; means of the worst of one, of two (1/4, 0, 0) and of three.
    let verdicts = [
        verdict(0, 0, true),
        verdict(0, 1, false),
        verdict(1, 0, true),
        verdict(1, 1, true),
        verdict(2, 0, false),
        verdict(2, 1, false),
    ];
    folder.write("verdicts.jsonl", &verdicts.map(|verdict| verdict.to_string()).join("\n"));
    let found = grade_health(&folder, &["--json", "--verdicts", "verdicts.jsonl"]).expect_done();
    let found = json(&found.stdout);
    for (k, expected) in [1.25 / 3.0, 0.25 / 3.0, 0.0].into_iter().enumerate() {
        close(&found["worst-at-k"][k], expected);
    }
    assert_eq!(found["metrics"].as_array().expect("a list").len(), 2, "harm alone has no score");
}

#[test]
fn verdicts_that_cannot_be_used_are_named_with_file_and_line() {
    let folder = Folder::new();
    write_health(&folder);
    let with = |verdicts: &str| {
        folder.write("verdicts.jsonl", verdicts);
        grade_health(&folder, &["--verdicts", "verdicts.jsonl"]).said()
    };
    let good = r#"{"prompt_id": "example-0", "criterion": 0, "met": true}"#;
    insta::assert_snapshot!(
        "verdicts-cut-line",
        with(&format!("{good}\n{{\"prompt_id\": \"example-0\"\n"))
    );
    insta::assert_snapshot!("verdicts-type", with(&good.replace("true", "\"true\"")));
    insta::assert_snapshot!(
        "verdicts-unknown-prompt",
        with(&good.replace("example-0", "example-99"))
    );
    insta::assert_snapshot!(
        "verdicts-unknown-criterion",
        with(&good.replace("\"criterion\": 0", "\"criterion\": 99"))
    );
    insta::assert_snapshot!("verdicts-twice", with(&format!("{good}\n\n{good}\n")));
    insta::assert_snapshot!("verdicts-empty", with("\n"));
    let said = |arguments: &[&str]| grade_health(&folder, arguments).said();
    insta::assert_snapshot!("verdicts-path", said(&["--verdicts", "nowhere.jsonl"]));
    folder.write("responses.jsonl", "{\"prompt_id\": \"example-0\", \"response\": \"r\"}\n");
    insta::assert_snapshot!(
        "verdicts-benchmark-without-answers",
        said(&["--responses", "responses.jsonl"])
    );
    insta::assert_snapshot!(
        "verdicts-unknown-set",
        said(&["--verdicts", "verdicts.jsonl", "--set", "set=hardest"])
    );
    insta::assert_snapshot!(
        "verdicts-unknown-key",
        said(&["--verdicts", "verdicts.jsonl", "--set", "sset=hard50"])
    );
    insta::assert_snapshot!(
        "verdicts-set-without-value",
        said(&["--verdicts", "verdicts.jsonl", "--set", "hard50"])
    );
    insta::assert_snapshot!(
        "verdicts-benchmark-without-judge",
        folder.run(&["grade", "arithmetic", "--verdicts", "verdicts.jsonl"]).said()
    );
}

#[test]
fn responses_are_graded_on_the_benchmark_that_settings_name() {
    let folder = Folder::new();
    // The first sums of two terms with two digits.
    folder.write("responses.jsonl", &responses("2x2", ["\\boxed{1}", "no idea"]));
    let settings = ["--set", "terms=2", "--set", "digits=2"];
    let grade = ["--json", "grade", "arithmetic", "--responses", "responses.jsonl"];
    let found = json(&folder.run(&[&grade[..], &settings].concat()).expect_done().stdout);
    let labels: Vec<&str> = found["grades"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|grade| grade["label"].as_str().expect("a label"))
        .collect();
    close(&found["accuracy"], 0.0);
    assert_eq!((&found["prompts"], &found["unanswered-prompts"]), (&json!(2), &json!(198)));
    let right = responses("2x2", [&format!("\\boxed{{{}}}", labels[0]), "no idea"]);
    folder.write("responses.jsonl", &right);
    let found = json(&folder.run(&[&grade[..], &settings].concat()).expect_done().stdout);
    close(&found["accuracy"], 0.5);
    // Without them it is another benchmark, whose prompts have other names.
    assert_eq!(folder.run(&grade).code, Some(2));
}

fn responses(kind: &str, texts: [&str; 2]) -> String {
    let line = |(i, text): (usize, &str)| {
        format!("{}\n", json!({"prompt_id": format!("arithmetic/{kind}/{i}"), "response": text}))
    };
    texts.into_iter().enumerate().map(line).collect()
}
