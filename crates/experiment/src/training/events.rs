//! Metrics as a TensorBoard event file.
//!
//! A file is a row of records: length (u64), masked CRC-32C of the length, data, masked CRC-32C of the
//! data, all little-endian. The data is an `Event` of TensorFlow's `event.proto`, here with the fields
//! `wall_time` (1), `step` (2), `file_version` (3) or `summary` (5), whose values have a `tag` (1) and a
//! `simple_value` (2). The file is made from the records of the store each time, so that it never
//! disagrees with them. If it only grew, the rest is appended: a TensorBoard that is open reads on.

use std::collections::BTreeMap;
use std::fs;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_core::record::TrainCostRecord;
use preceptor_store::{Error as StoreError, Stage, Store, replace_file};

/// Longest name of a run's folder without its digest, in bytes.
const MAX_NAME: usize = 160;

/// Scalars of each step, by name.
pub(crate) type Scalars = BTreeMap<u64, BTreeMap<String, f64>>;
/// End of each step in Unix seconds, where it is known.
pub(crate) type Times = BTreeMap<u64, f64>;

/// Reads the time of each step that has one.
pub(crate) fn step_times(costs: &Stage) -> Result<Times, StoreError> {
    let costs = costs.load::<TrainCostRecord>()?.records;
    let time = |cost: TrainCostRecord| Some((cost.step, cost.ended_at?));
    Ok(costs.into_values().filter_map(time).collect())
}

/// Returns the folder of a training run: words that tell it from others, and the start of its digest.
pub(crate) fn folder(store: &Store, words: &str, run: &Digest) -> PathBuf {
    store.root().join("tensorboard").join(run_name(words, run))
}

fn run_name(words: &str, run: &Digest) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.=,".contains(c) { c } else { '_' };
    let name: String = words.chars().map(kept).take(MAX_NAME).collect();
    format!("{name}_{}", run.short())
}

/// Writes `scalars` as the only event file in `folder`. A step without a time has that of the step before
/// it, or of the first that has one.
pub(crate) fn write(folder: &Path, scalars: &Scalars, times: &Times) -> std::io::Result<()> {
    let first = times.values().next().copied().unwrap_or(0.0);
    let mut bytes = Vec::new();
    let mut version = Vec::new();
    put_time(&mut version, first);
    put_bytes(&mut version, 3, b"brain.Event:2");
    put_record(&mut bytes, &version);
    for (step, values) in scalars {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            put_key(&mut entry, 2, FIXED_32);
            entry.extend((*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        let mut event = Vec::new();
        let time = times.range(..=step).next_back();
        put_time(&mut event, time.map_or(first, |(_, time)| *time));
        put_key(&mut event, 2, VARINT);
        put_varint(&mut event, *step);
        put_bytes(&mut event, 5, &summary);
        put_record(&mut bytes, &event);
    }
    let path = folder.join("events.out.tfevents.0000000000.preceptor");
    let known = fs::read(&path).unwrap_or_default();
    match bytes.strip_prefix(known.as_slice()) {
        Some([]) => Ok(()),
        Some(rest) if !known.is_empty() => {
            OpenOptions::new().append(true).open(&path)?.write_all(rest)
        }
        _ => replace_file(&path, |temporary| fs::write(temporary, &bytes), |error| error),
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

fn put_key(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn put_time(out: &mut Vec<u8>, secs: f64) {
    put_key(out, 1, FIXED_64);
    out.extend(secs.to_le_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_key(out, field, DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
}

/// Returns the CRC-32C, rotated and shifted as the format requires.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // CRC-32C of "123456789" is 0xe3069283.
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), expected);
    }

    #[test]
    fn numbers_have_as_many_bytes_as_they_need() {
        let mut out = Vec::new();
        put_varint(&mut out, 300);
        put_varint(&mut out, 5);
        assert_eq!(out, [0xac, 0x02, 5]);
    }

    fn scalars(steps: &[u64]) -> Scalars {
        let of_step = |&step| (step, BTreeMap::from([("a/b".to_owned(), step as f64)]));
        steps.iter().map(of_step).collect()
    }

    #[test]
    fn a_file_that_grows_is_appended_to_and_one_that_changes_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.0000000000.preceptor");
        let times = Times::from([(1, 100.5), (2, 200.5)]);
        write(folder.path(), &scalars(&[0, 1]), &times).unwrap();
        let before = fs::read(&path).unwrap();
        // As a TensorBoard holds it.
        let held = fs::File::open(&path).unwrap();
        write(folder.path(), &scalars(&[0, 1, 2, 3]), &times).unwrap();
        let after = fs::read(&path).unwrap();
        assert!(after.starts_with(&before) && after.len() > before.len());
        assert_eq!(held.metadata().unwrap().len(), after.len() as u64);
        write(folder.path(), &scalars(&[1]), &times).unwrap();
        assert!(fs::read(&path).unwrap().len() < before.len());
        assert_eq!(held.metadata().unwrap().len(), after.len() as u64);
    }

    #[test]
    fn runs_are_named_in_words() {
        let run = Digest::of(b"run");
        let name = run_name("sums aggregator.kind=majority seed=0 a/b", &run);
        assert_eq!(name, format!("sums_aggregator.kind=majority_seed=0_a_b_{}", run.short()));
        assert!(run_name(&"x".repeat(999), &run).len() < 255);
    }
}
