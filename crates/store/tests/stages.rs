//! Behaviour of stages on a real disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use preceptor_core::record::RolloutRecord;
use preceptor_core::{FinishReason, PromptId, Rollout};
use preceptor_store::{Error, Finding, StageSpec, Store};
use serde_json::json;

/// The only part of a stage.
fn only_part(stage: &Path) -> PathBuf {
    let entries = fs::read_dir(stage).expect("a stage");
    let names = entries.map(|entry| entry.expect("readable").path());
    let is_part = |path: &PathBuf| path.to_string_lossy().ends_with(".jsonl");
    names.filter(is_part).find(|path| path.to_string_lossy().contains("/part-")).expect("a part")
}

fn spec() -> StageSpec {
    StageSpec::new("values", &json!({"seed": 0})).expect("serializable")
}

#[test]
fn records_read_back_across_writers_and_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage(&spec());
    let mut first = stage.writer();
    let mut second = stage.writer();
    first.append("a", &1).unwrap();
    second.append("b", &2).unwrap();
    second.append("a", &1).unwrap();
    drop(first);
    stage.compact().unwrap();
    second.append("c", &3).unwrap();
    let records = stage.load::<u32>().unwrap().records;
    assert_eq!(
        records.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]
    );
    drop(second);
    stage.compact().unwrap();
    assert_eq!(stage.keys().unwrap().len(), 3);
    let names: Vec<_> = fs::read_dir(stage.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("part-"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_torn_last_line_is_counted_and_earlier_lines_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage(&spec());
    let mut writer = stage.writer();
    writer.append("a", &"first").unwrap();
    writer.append("b", &"second").unwrap();
    drop(writer);
    let part = only_part(stage.folder());
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 5]).unwrap();
    let loaded = stage.load::<String>().unwrap();
    assert_eq!(loaded.records.into_keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(loaded.num_bad_lines, 1);

    let mut writer = stage.writer();
    writer.append("b", &"second").unwrap();
    assert_eq!(stage.load::<String>().unwrap().records.len(), 2);
}

#[test]
fn verify_names_tampered_records() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage(&spec());
    let mut writer = stage.writer();
    writer.append("a", &"first").unwrap();
    drop(writer);
    let plan = store.put_plan(&json!({"cells": []})).unwrap();
    let clean = store.verify().unwrap();
    assert_eq!((clean.num_stages, clean.num_records), (1, 1));
    assert!(clean.findings.is_empty());

    let part = only_part(stage.folder());
    let text = fs::read_to_string(&part).unwrap();
    fs::write(&part, text.replace("first", "forst")).unwrap();
    fs::write(stage.folder().join("spec.json"), "{}").unwrap();
    let plan_path = folder.path().join("plans").join(format!("{plan}.json"));
    fs::write(&plan_path, "{}").unwrap();
    let findings = store.verify().unwrap().findings;
    assert_eq!(
        findings,
        [
            Finding::WrongSpec { folder: stage.folder().to_owned() },
            Finding::BadLine { path: part, line: 1 },
            Finding::WrongPlan { path: plan_path },
        ]
    );
}

#[test]
fn a_store_below_a_file_cannot_be_written_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let store = Store::open(file.join("store")).unwrap();
    let error = store.stage(&spec()).writer().append("a", &1).unwrap_err().to_string();
    let error = error.replace(&folder.path().display().to_string(), "[dir]");
    let error = error.replace(spec().digest().as_str(), "[digest]");
    insta::assert_snapshot!(error, @r"
    write `[dir]/file/store/stages/[digest]`
    hint: records written before stay valid; free space or name another store with `--store DIR`, then run the same command again
    ");
}

#[test]
fn a_claim_is_one_process_s_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Store::open(folder.path().join("store")).unwrap().stage(&spec());
    let claim = stage.claim(false).expect("nobody has it");
    assert!(stage.claim(false).is_none());
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let (stage, done) = (&stage, sender.clone());
        scope.spawn(move || {
            let claim = stage.claim(true);
            sender.send(claim.is_some()).unwrap();
        });
        let waited = receiver.recv_timeout(Duration::from_millis(50));
        assert_eq!(waited, Err(mpsc::RecvTimeoutError::Timeout));
        drop((claim, done));
        assert_eq!(receiver.recv(), Ok(true));
    });
    assert!(stage.claim(false).is_some());
    // Where nothing can be written everyone has what they ask for.
    fs::remove_dir_all(folder.path().join("store/leases")).unwrap();
    fs::write(folder.path().join("store/leases"), "").unwrap();
    let claims = [stage.claim(false), stage.claim(true)];
    assert!(claims.iter().all(Option::is_some));
}

#[test]
fn a_store_of_a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format.json"), r#"{"format":99}"#).unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    let error = error.replace(&folder.path().display().to_string(), "[dir]");
    insta::assert_snapshot!(error, @r"
    understand `[dir]/format.json`: the store has format 99, this program reads format 1
    hint: name another store with `--store DIR`
    ");
}

#[test]
fn failures_are_noted_until_their_records_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage(&spec());
    assert!(stage.failures().unwrap().is_empty());
    let failed = |keys: &[&str]| {
        keys.iter().map(|key| ((*key).to_owned(), "rate-limited".to_owned())).collect()
    };
    stage.note_failures(["a", "b", "c"], &failed(&["a", "c"])).unwrap();
    stage.note_failures(["a"], &failed(&[])).unwrap();
    assert_eq!(stage.failures().unwrap().into_keys().collect::<Vec<_>>(), ["c"]);
    stage.note_failures(["c"], &failed(&[])).unwrap();
    assert!(stage.failures().unwrap().is_empty());
    assert!(stage.keys().unwrap().is_empty(), "a failure is no record");
    assert!(store.verify().unwrap().findings.is_empty());
}

/// A record of a stage of rollouts, with this log-probability.
fn rollout(logprob: Option<f64>) -> serde_json::Value {
    let rollout = Rollout {
        index: 0,
        text: "5".to_owned(),
        token_ids: vec![5],
        logprobs: vec![0.0],
        finish: FinishReason::EndToken,
        num_prompt_tokens: 3,
        reported_tokens: None,
    };
    let record = RolloutRecord { prompt: PromptId::new("p/1"), rollout };
    let mut value = serde_json::to_value(record).expect("a record is plain data");
    value["rollout"]["logprobs"] = json!([logprob]);
    value
}

#[test]
fn floats_that_json_cannot_express_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Store::open(folder.path()).unwrap().stage(&spec());
    let mut writer = stage.writer();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = writer.append("a", &vec![Some(1.0), Some(value)]).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
    }
    insta::assert_snapshot!(writer.append("a", &f32::NAN).unwrap_err(), @r"
    write record `a` of stage `values`: NaN, expected finite numbers
    hint: nothing was stored; the model's weights or a reward are not finite
    ");
    assert!(stage.keys().unwrap().is_empty());
    assert!(!stage.folder().exists(), "nothing is created for a refused record");
}

#[test]
fn an_unreadable_record_is_found_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage(&StageSpec::new("rollouts", &json!({"seed": 0})).unwrap());
    let mut writer = stage.writer();
    writer.append("p/1#0", &rollout(None)).unwrap();
    writer.append("p/1#1", &rollout(Some(-0.5))).unwrap();
    drop(writer);
    // Both in a part and once compacted by an earlier build.
    let part = only_part(stage.folder());
    let compacted = stage.folder().join("records.jsonl.zst");
    fs::write(&compacted, zstd::encode_all(&*fs::read(&part).unwrap(), 3).unwrap()).unwrap();
    for stage in [stage.clone(), store.stage_by_digest(stage.digest())] {
        let loaded = stage.load::<RolloutRecord>().unwrap();
        assert_eq!(loaded.records.into_keys().collect::<Vec<_>>(), ["p/1#1"]);
        assert_eq!(loaded.unreadable.into_iter().collect::<Vec<_>>(), ["p/1#0"]);
        let keys = stage.read_keys().unwrap();
        assert_eq!((keys.present.len(), keys.unreadable.len()), (1, 1));
    }
    let findings = store.verify().unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    for (finding, path) in findings.iter().zip([&compacted, &part]) {
        let Finding::Unreadable { path: found, line: 1, key, detail } = finding else {
            panic!("{finding:?}");
        };
        assert_eq!((found, key.as_str()), (path, "p/1#0"));
        assert!(detail.contains("null"), "{detail}");
    }

    let mut writer = stage.writer();
    writer.append("p/1#0", &rollout(Some(-0.25))).unwrap();
    drop(writer);
    let loaded = stage.load::<RolloutRecord>().unwrap();
    assert_eq!(loaded.records["p/1#0"].rollout.logprobs, [-0.25]);
    assert!(loaded.unreadable.is_empty());
    stage.compact().unwrap();
    assert_eq!(stage.load::<RolloutRecord>().unwrap().records.len(), 2);
    assert_eq!(store.verify().unwrap().findings, []);
}
