//! Large stages: segments, their indexes, and searches by key.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_store::{Stage, StageSpec, Store};
use serde_json::json;

/// Text of a record: different for each key, of about a kilobyte, hard to compress.
fn text(key: u32) -> String {
    let mut state = u64::from(key) + 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state >> 32) as u8 % 26)
    };
    (0..1000).map(|_| letter()).collect()
}

fn name(key: u32) -> String {
    format!("key-{key}")
}

fn names(keys: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
    keys.into_iter().map(name).collect()
}

fn stage(folder: &tempfile::TempDir) -> Stage {
    let store = Store::open(folder.path()).expect("a new store");
    store.stage(&StageSpec::new("values", &json!({"seed": 0})).expect("serializable"))
}

/// The only part of a stage.
fn only_part(stage: &Path) -> PathBuf {
    let entries = fs::read_dir(stage).expect("a stage");
    let names = entries.map(|entry| entry.expect("readable").path());
    let is_part = |path: &PathBuf| path.to_string_lossy().ends_with(".jsonl");
    names.filter(is_part).find(|path| path.to_string_lossy().contains("/part-")).expect("a part")
}

/// Appends records in one part and compacts the stage.
fn append(stage: &Stage, keys: std::ops::Range<u32>) {
    let mut writer = stage.writer();
    for key in keys {
        writer.append(&name(key), &text(key)).expect("writable");
    }
    drop(writer);
    stage.compact().expect("writable");
}

fn files(stage: &Stage, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(stage.folder()).expect("readable");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(suffix))
        .collect();
    names.sort();
    names
}

fn assert_found(stage: &Stage, keys: &[u32]) {
    let loaded = stage.find::<String>(&names(keys.iter().copied())).expect("readable");
    let expected: Vec<_> = keys.iter().map(|&key| (name(key), text(key))).collect();
    let mut found: Vec<_> = loaded.records.into_iter().collect();
    found.sort_by_key(|(key, _)| expected.iter().position(|(name, _)| name == key));
    assert!(found == expected, "{} of {} records", found.len(), expected.len());
}

#[test]
fn a_segment_is_never_rewritten_and_every_key_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    append(&stage, 0..10_000);
    assert_eq!(files(&stage, ".zst"), ["segment-000000.jsonl.zst"]);
    let segment = stage.folder().join("segment-000000.jsonl.zst");
    let before = (fs::read(&segment).unwrap(), fs::metadata(&segment).unwrap().modified().unwrap());

    append(&stage, 10_000..10_100);
    append(&stage, 10_100..10_200);
    assert_eq!(files(&stage, ".zst"), ["records.jsonl.zst", "segment-000000.jsonl.zst"]);
    let after = (fs::read(&segment).unwrap(), fs::metadata(&segment).unwrap().modified().unwrap());
    assert!(before == after);

    // In the segment, in the small file, in the part of a live writer, nowhere.
    let mut live = stage.writer();
    live.append(&name(20_000), &text(20_000)).unwrap();
    assert_found(&stage, &[0, 1, 4999, 9_999, 10_000, 10_150, 20_000]);
    assert_eq!(stage.find::<String>(&names([20_001])).unwrap().records.len(), 0);
    assert_eq!(stage.keys().unwrap().len(), 10_201);
    assert_eq!(stage.load::<String>().unwrap().records.len(), 10_201);
}

#[test]
fn records_of_a_small_file_become_a_segment_once_they_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    for round in 0..4 {
        append(&stage, 1000 * round..1000 * (round + 1));
    }
    assert_eq!(files(&stage, ".zst"), ["records.jsonl.zst", "segment-000000.jsonl.zst"]);
    assert_found(&stage, &[0, 999, 1000, 2500, 3999]);
    let mut seen = BTreeSet::new();
    stage.scan(&mut |key, _| assert!(seen.insert(key.to_owned()))).unwrap();
    assert_eq!(seen.len(), 4000);
}

#[test]
fn indexes_are_merged_and_a_lost_or_damaged_one_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    for round in 0..9 {
        append(&stage, 9000 * round..9000 * (round + 1));
    }
    assert_eq!(files(&stage, ".zst").len(), 9);
    assert_eq!(files(&stage, ".keys"), ["segment-000008.keys", "segments-000000-000007.keys"]);
    let wanted = [0, 8_999, 9_000, 40_000, 80_999];
    assert_found(&stage, &wanted);

    let merged = stage.folder().join("segments-000000-000007.keys");
    fs::write(&merged, b"torn").unwrap();
    fs::remove_file(stage.folder().join("segment-000008.keys")).unwrap();
    assert_found(&stage, &wanted);
    assert_found(&stage, &wanted);
    append(&stage, 90_000..90_010);
    assert_found(&stage, &[0, 80_999, 90_005]);
}

#[test]
fn a_compaction_that_stopped_before_it_dropped_its_parts_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    let mut writer = stage.writer();
    for key in 0..9_000 {
        writer.append(&name(key), &text(key)).unwrap();
    }
    drop(writer);
    let part = only_part(stage.folder());
    let bytes = fs::read(&part).unwrap();
    stage.compact().unwrap();
    fs::write(&part, bytes).unwrap();
    assert_found(&stage, &[0, 8_999]);
    assert_eq!(stage.load::<String>().unwrap().records.len(), 9_000);
    append(&stage, 9_000..9_001);
    let mut num = 0;
    stage.scan(&mut |_, _| num += 1).unwrap();
    assert_eq!(num, 9_001);
    let store = Store::open(folder.path()).unwrap();
    let verification = store.verify().unwrap();
    assert_eq!((verification.num_records, verification.findings), (9_001, vec![]));
}

#[test]
fn a_key_with_two_values_has_the_first_one_however_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    append(&stage, 0..9_000);
    let mut writer = stage.writer();
    writer.append(&name(7), &"another value").unwrap();
    drop(writer);
    let loaded = stage.load::<String>().unwrap().records.remove(&name(7));
    let found = stage.find::<String>(&names([7])).unwrap().records.remove(&name(7));
    assert_eq!((loaded, found), (Some(text(7)), Some(text(7))));
}

#[test]
fn readers_miss_nothing_while_another_process_compacts() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(&folder);
    append(&stage, 0..100);
    std::thread::scope(|scope| {
        let writer = stage.clone();
        let writing = scope.spawn(move || {
            for round in 1..40 {
                append(&writer, 100 * round..100 * (round + 1));
            }
        });
        let mut least = 100;
        while !writing.is_finished() {
            let num = stage.keys().unwrap().len();
            assert!(num >= least, "{num} keys after {least}");
            least = num;
            assert_found(&stage, &[0, 99]);
        }
    });
    assert_eq!(stage.keys().unwrap().len(), 4000);
}
