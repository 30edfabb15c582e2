//! Messages about wrong input.

use std::fs;
use std::process::Stdio;

use crate::process::{Folder, TINY_MODEL};

#[test]
fn output_that_can_not_be_written_is_exit_code_3() {
    let folder = Folder::new();
    for arguments in [
        &["answers", "equal", "1", "2"][..],
        &["answers", "equal", "1", "2", "--json"],
        &["models", "list"],
        &["--help"],
        &["--version"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let mut command = folder.command(arguments);
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().expect("it starts");
        let output = output.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("failed to write the output"));
    }
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let folder = Folder::new();
    let mut command = folder.command(&["answers", "equal", "1", "2", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    assert_ne!(child.wait_with_output().expect("it ends").status.code(), Some(3));
}

#[test]
fn wrong_input_is_named_and_exits_with_2() {
    let folder = Folder::new();
    folder.write_manifest(2);
    let refused = |name: &str, arguments: &[&str]| {
        insta::assert_snapshot!(name, folder.run(arguments).said())
    };
    refused("wrong-manifest-path", &["run", "none.toml"]);
    refused("wrong-model-name", &["run", "tiny.toml", "--set", "policy.model=smolm2-135m"]);
    refused("wrong-set-key", &["run", "tiny.toml", "--set", "sampling.temprature=1"]);
    refused("wrong-only-cell", &["run", "tiny.toml", "--only", "aggregator.kind=synthesis"]);
    refused("wrong-batch", &["run", "tiny.toml", "--batch", "0"]);
    refused("wrong-device-of-another-build", &["run", "tiny.toml", "--device", "cuda:0"]);
    refused("wrong-device", &["run", "tiny.toml", "--device", "tpu"]);
    refused("wrong-report-before-run", &["report", "tiny.toml"]);
    refused("wrong-models-show", &["models", "show", "gpt"]);
    refused("wrong-grade-benchmark", &["grade", "math501", "--responses", "none.jsonl"]);
    refused("wrong-grade-responses-path", &["grade", "arithmetic", "--responses", "none.jsonl"]);
    folder.write("responses.jsonl", "{\"prompt_id\": \"arithmetic/3x1/0\"}\n");
    refused(
        "wrong-grade-responses-line",
        &["grade", "arithmetic", "--responses", "responses.jsonl"],
    );
    folder.write("responses.jsonl", "{\"prompt_id\": \"nobody\", \"response\": \"4\"}\n");
    refused("wrong-grade-prompt-id", &["grade", "arithmetic", "--responses", "responses.jsonl"]);
    assert!(!folder.path("runs").exists(), "nothing was written");
}

#[test]
fn missing_files_and_stores_that_cannot_be_written_exit_with_3() {
    let folder = Folder::new();
    folder.write_manifest(2);
    let refused = |name: &str, arguments: &[&str]| {
        insta::assert_snapshot!(name, folder.run(arguments).said())
    };
    refused("missing-model", &["run", "tiny.toml", "--set", "policy.model=smollm2-135m"]);
    refused("missing-data-set", &["run", "tiny.toml", "--set", "benchmark={kind=\"math500\"}"]);
    folder.write("file", "");
    let written = folder.run(&["run", "tiny.toml", "--store", "file/store"]);
    assert_eq!(written.code, Some(3), "{}", written.said());
    assert!(
        written.stderr.contains("hint: records written before stay valid"),
        "{}",
        written.said()
    );
}

#[test]
fn a_model_without_a_chat_template_is_not_asked_what_needs_one() {
    let folder = Folder::new();
    folder.write_manifest(2);
    let model = folder.path("base");
    fs::create_dir(&model).expect("writable");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(format!("{TINY_MODEL}/{file}"), model.join(file)).expect("copied");
    }
    folder.write("rows.jsonl", "{\"problem\": \"1 + 1?\", \"answer\": \"2\"}\n");
    let run = |benchmark: &str| {
        let benchmark = format!("benchmark={{ {benchmark} }}");
        folder.run(&["run", "tiny.toml", "--set", "policy.model=base", "--set", &benchmark])
    };
    run("kind = 'arithmetic', limit = 2").expect_done();
    let chat = "kind = 'jsonl', path = 'rows.jsonl'";
    insta::assert_snapshot!("no-chat-template", run(chat).said());
    insta::assert_snapshot!(
        "no-chat-template-if-available",
        run(&format!("{chat}, if-available = true")).said()
    );
    let train = "[reward]\nterms = [{ kind = \"format\" }]\n[train]\nkind = \"grpo\"\n\
                 prompts-per-step = 1\n[held-out]\nkind = \"jsonl\"\npath = \"rows.jsonl\"\n";
    let manifest = fs::read_to_string(folder.path("tiny.toml")).expect("written");
    folder.write("train.toml", &format!("{manifest}{train}"));
    let refused = folder.run(&["run", "train.toml", "--set", "policy.model=base"]);
    assert!(refused.stderr.contains("which the prompts of `jsonl` need"), "{}", refused.said());
}

#[test]
fn a_cut_or_changed_checkpoint_is_refused_by_name() {
    let folder = Folder::new();
    folder.write_manifest(2);
    let copy = folder.path("model");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(TINY_MODEL).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    let weights = copy.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let run = ["run", "tiny.toml", "--set", "policy.model=model"];
    insta::assert_snapshot!("checkpoint-cut", folder.run(&run).said());
    fs::remove_file(&weights).unwrap();
    insta::assert_snapshot!("checkpoint-without-weights", folder.run(&run).said());
}

#[test]
fn json_failures_are_json() {
    let folder = Folder::new();
    let finished = folder.run(&["--json", "plan", "none.toml"]);
    assert_eq!(finished.code, Some(2));
    let value: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(value["exit-code"], 2);
    assert!(value["error"].as_str().unwrap().contains("none.toml"));
}
