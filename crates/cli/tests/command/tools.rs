//! The commands around a run.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{Folder, TINY_MODEL};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn plan_run_status_report_and_verify_agree() {
    let folder = Folder::new();
    folder.write_manifest(3);
    let plan = json(&folder.run(&["--json", "plan", "tiny.toml"]).expect_done().stdout);
    assert_eq!(plan["missing-rollouts"], 3 * 8);
    assert_eq!(plan["max-new-tokens"], 3 * 8 * 12);
    assert_eq!(plan["cells"].as_array().unwrap().len(), 6);
    let dry = folder.run(&["run", "tiny.toml", "--dry-run"]).expect_done();
    assert!(dry.stdout.contains("6 cells and 1 set of rollouts"), "{}", dry.stdout);
    assert!(!folder.path("runs").exists());

    let run = json(&folder.run(&["--json", "run", "tiny.toml"]).expect_done().stdout);
    assert_eq!((&run["rollouts-sampled"], &run["rollouts-reused"]), (&24.into(), &0.into()));
    let status = json(&folder.run(&["--json", "status", "tiny.toml"]).expect_done().stdout);
    assert_eq!((&status["done"], &status["missing"]), (&6.into(), &0.into()));
    let plan = json(&folder.run(&["--json", "plan", "tiny.toml"]).expect_done().stdout);
    assert_eq!(plan["missing-rollouts"], 0);
    let again = json(&folder.run(&["--json", "run", "tiny.toml"]).expect_done().stdout);
    assert_eq!((&again["rollouts-sampled"], &again["rollouts-reused"]), (&0.into(), &24.into()));

    let page = fs::read(folder.path("reports/tiny/page.html")).unwrap();
    folder.run(&["report", "tiny.toml"]).expect_done();
    assert_eq!(fs::read(folder.path("reports/tiny/page.html")).unwrap(), page);
    folder.run(&["figures", "reports/tiny", "--width", "3.3"]).expect_done();
    let narrow = fs::read(folder.path("reports/tiny/page.html")).unwrap();
    assert_eq!(narrow, page, "figures alone are drawn again");
    let refused = folder.run(&["figures", "reports/tiny", "--width", "1"]);
    insta::assert_snapshot!(refused.said(), @r"
    exit Some(2)
    error: failed to draw figures: `--width 1`: must be between 2.5 and 12 inches
    hint: a column of a paper is 3.3 inches wide, a page 6.75
    ");
    let verified = json(&folder.run(&["--json", "store", "verify"]).expect_done().stdout);
    assert_eq!(verified["findings"].as_array().unwrap().len(), 0);

    let stage = plan["rollout-stages"][0]["digest"].as_str().unwrap();
    let records = folder.path("runs/stages").join(stage).join("records.jsonl.zst");
    let text = zstd::decode_all(fs::read(&records).unwrap().as_slice()).unwrap();
    let text = String::from_utf8(text).unwrap().replacen("max-new-tokens", "max-new-tokenz", 1);
    fs::write(&records, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
    let broken = folder.run(&["--json", "store", "verify"]);
    assert_eq!(broken.code, Some(1), "{}", broken.said());
    assert_eq!(json(&broken.stdout)["findings"].as_array().unwrap().len(), 1);
    let mended = json(&folder.run(&["--json", "run", "tiny.toml"]).expect_done().stdout);
    assert_eq!(mended["rollouts-sampled"], 1);
}

/// A line of a store, with its check.
fn line(key: &str, value: &str) -> String {
    let check = preceptor_core::Digest::of_parts([key.as_bytes(), value.as_bytes()]);
    let check = &check.as_str()[..16];
    format!("{{\"key\":\"{key}\",\"check\":\"{check}\",\"value\":{value}}}\n")
}

/// An earlier build wrote `null` for a log-probability that was no number.
#[test]
fn records_that_cannot_be_read_are_told_and_made_again() {
    let folder = Folder::new();
    folder.write_manifest(3);
    folder.run(&["run", "tiny.toml"]).expect_done();
    let whole = folder.records("runs");
    let plan = json(&folder.run(&["--json", "plan", "tiny.toml"]).expect_done().stdout);
    let stage = plan["rollout-stages"][0]["digest"].as_str().unwrap();
    let records = folder.path("runs/stages").join(stage).join("records.jsonl.zst");
    let mut changed = String::new();
    for (number, text) in whole[stage].iter().enumerate() {
        let record = json(text);
        let mut value = record["value"].clone();
        if number % 5 == 0 {
            value["rollout"]["logprobs"][0] = Value::Null;
            changed.push_str(&line(record["key"].as_str().unwrap(), &value.to_string()));
        } else {
            changed.push_str(&format!("{text}\n"));
        }
    }
    fs::write(&records, zstd::encode_all(changed.as_bytes(), 0).unwrap()).unwrap();

    let broken = folder.run(&["--json", "store", "verify"]);
    assert_eq!(broken.code, Some(1), "{}", broken.said());
    let findings = json(&broken.stdout)["findings"].as_array().unwrap().clone();
    assert_eq!(findings.len(), 5);
    let first = findings[0].as_str().unwrap();
    assert!(first.contains("line 1: record `") && first.contains("invalid type: null"), "{first}");

    let mended = folder.run(&["--json", "run", "tiny.toml"]).expect_done();
    assert!(mended.stderr.contains("5 stored records can't be read"), "{}", mended.stderr);
    assert_eq!(json(&mended.stdout)["rollouts-sampled"], 5);
    assert_eq!(folder.records("runs"), whole);
    folder.run(&["store", "verify"]).expect_done();
}

#[test]
fn responses_from_elsewhere_are_graded() {
    let folder = Folder::new();
    folder.write(
        "responses.jsonl",
        "{\"prompt_id\": \"arithmetic/3x1/0\", \"response\": \"no idea\"}\n{\"prompt_id\": \"arithmetic/3x1/1\", \"response\": \"\\\\boxed{1}\"}\n",
    );
    let graded =
        folder.run(&["grade", "arithmetic", "--responses", "responses.jsonl"]).expect_done();
    insta::assert_snapshot!(graded.stdout);
}

#[test]
fn answers_are_compared_by_every_profile() {
    let folder = Folder::new();
    let table = folder.run(&["answers", "equal", "\\frac{1}{2}", "0.5"]).expect_done();
    insta::assert_snapshot!(table.stdout);
    folder.write("pairs.jsonl", "{\"a\": \"2\", \"b\": \"2.0\"}\n{\"a\": \"2\", \"b\": \"-2\"}\n");
    let lines = folder.run(&["answers", "equal", "--pairs", "pairs.jsonl"]).expect_done().stdout;
    let verdicts: Vec<_> =
        lines.lines().map(|line| json(line)["profiles"]["verify"]["equal"].clone()).collect();
    assert_eq!(verdicts, [true, false]);
}

#[test]
fn lists_name_what_is_there() {
    let folder = Folder::new();
    insta::assert_snapshot!("list-of-models", folder.run(&["models", "list"]).expect_done().stdout);
    insta::assert_snapshot!(
        "list-of-data-sets",
        folder.run(&["data", "list"]).expect_done().stdout
    );
    insta::assert_snapshot!(
        "model-details",
        folder.run(&["models", "show", "smollm2-135m"]).expect_done().stdout
    );
}

/// Copies a folder's files, without folders in it.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("writable");
        }
    }
}

#[test]
fn fixtures_are_compared_and_a_wrong_number_is_found() {
    let folder = Folder::new();
    let found = json(&folder.run(&["--json", "parity", TINY_MODEL]).expect_done().stdout);
    assert_eq!((&found["holds"], &found["device"]), (&true.into(), &"cpu".into()));
    let text = folder.run(&["parity", TINY_MODEL]).expect_done().stdout;
    assert!(
        text.contains("gspo: gradient norm by weight") && text.contains("hold on cpu"),
        "{text}"
    );

    let changed = folder.path("fixture");
    copy_files(Path::new(TINY_MODEL), &changed);
    let path = changed.join("train_expected.json");
    let mut fixture: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    fixture["variants"]["gspo"]["loss"] = 0.05.into();
    fs::write(&path, fixture.to_string()).unwrap();
    let wrong = folder.run(&["--json", "parity", "fixture"]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.said());
    let wrong = json(&wrong.stdout);
    let fails = |c: &&Value| c["holds"] == false;
    let failed: Vec<_> = wrong["comparisons"].as_array().unwrap().iter().filter(fails).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["comparison"], "gspo: loss");

    fixture["variants"]["gspo"]["settings"]["clip_lower"] = 0.1.into();
    fs::write(&path, fixture.to_string()).unwrap();
    insta::assert_snapshot!("parity-unknown-setting", folder.run(&["parity", "fixture"]).said());
    fs::write(&path, "{").unwrap();
    insta::assert_snapshot!("parity-cut-file", folder.run(&["parity", "fixture"]).said());
    insta::assert_snapshot!("parity-path", folder.run(&["parity", "nowhere"]).said());
    insta::assert_snapshot!(
        "parity-device",
        folder.run(&["parity", "fixture", "--device", "cuda:0"]).said()
    );
}
