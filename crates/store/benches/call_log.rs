//! Measures a stage of calls that grows step by step, as in a training run with a judge, and prints a
//! line of JSON for some steps.
//!
//! Each step looks up its calls, appends their records, and compacts the stage. A call asks about one
//! rollout of about 2,500 characters and one criterion; 8 calls share a rollout. `no-prompt` leaves the
//! prompt out of the records. The folder is removed at the end.
//!
//! `cargo bench -p preceptor-store --bench call_log -- FOLDER [STEPS] [CALLS PER STEP] [no-prompt]`

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use preceptor_core::record::{CallRecord, call_key};
use preceptor_core::{FinishReason, Prompt, PromptBody, PromptId, Rollout, Seed};
use preceptor_store::{Stage, StageSpec, Store};
use serde_json::{Value, json};

const CRITERIA: u64 = 8;

/// Words with about the frequencies of English.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Returns `num` words of a vocabulary of 20,000, the frequent ones more often.
    fn text(&mut self, num: usize) -> String {
        let mut text = String::new();
        for _ in 0..num {
            let bound = [20, 200, 2000, 20_000][(self.next() % 4) as usize];
            let mut word = self.next() % bound + 20;
            while word > 0 {
                text.push(char::from(b'a' + (word % 26) as u8));
                word /= 26;
            }
            text.push(' ');
        }
        text
    }
}

fn call(step: u64, number: u64) -> (String, CallRecord) {
    let rollout = Words((step << 32) | (number / CRITERIA)).text(700);
    let criterion = Words(number % CRITERIA).text(20);
    let body = PromptBody::Text(format!(
        "Does the response meet the criterion?\n<response>\n{rollout}\n</response>\n<criterion>\n{criterion}\n</criterion>"
    ));
    let prompt = Prompt::new(PromptId::new("judge"), body);
    let key = call_key(&prompt, &Seed::root(0).derive_index((step << 32) | number));
    let rollout = Rollout {
        index: 0,
        text: Words((step << 32) | number).text(40),
        token_ids: vec![],
        logprobs: vec![],
        finish: FinishReason::EndToken,
        num_prompt_tokens: 800,
        reported_tokens: Some(50),
    };
    (key, CallRecord { prompt, rollout })
}

/// Reads a value of `/proc/self/status` in MiB, if the system has it.
fn memory(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn disk(stage: &Stage) -> (u64, usize) {
    let sizes: Vec<u64> = fs::read_dir(stage.folder())
        .expect("readable")
        .map(|entry| entry.expect("readable").metadata().expect("readable").len())
        .collect();
    (sizes.iter().sum::<u64>() >> 20, sizes.len())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(folder) = arguments.first() else {
        println!("skipped: name a folder");
        return;
    };
    let number = |index: usize, default| {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (num_steps, num_calls): (u64, u64) = (number(1, 20), number(2, 10_000));
    let has_prompt = !arguments.iter().any(|argument| argument == "no-prompt");
    let folder = Path::new(folder).join("call-log");
    let store = Store::open(&folder).expect("a new store");
    let spec = StageSpec::new(if has_prompt { "calls" } else { "replies" }, &json!({}));
    let stage = store.stage(&spec.expect("plain data"));
    for step in 1..=num_steps {
        let calls: Vec<_> = (0..num_calls).map(|number| call(step, number)).collect();
        let keys: BTreeSet<String> = calls.iter().map(|(key, _)| key.clone()).collect();
        let started = Instant::now();
        let found = stage.find::<Value>(&keys).expect("readable").records.len();
        let find_secs = started.elapsed().as_secs_f64();
        assert_eq!(found, 0, "step {step} was not asked before");
        let mut writer = stage.writer();
        for (key, record) in &calls {
            let written = if has_prompt {
                writer.append(key, record)
            } else {
                writer.append(key, &record.rollout)
            };
            written.expect("writable");
        }
        writer.sync().expect("writable");
        drop(writer);
        let append_secs = started.elapsed().as_secs_f64() - find_secs;
        stage.compact().expect("writable");
        let secs = started.elapsed().as_secs_f64();
        if step <= 3 || step % (num_steps / 10).max(1) == 0 {
            let (mebibytes, num_files) = disk(&stage);
            println!(
                "{}",
                json!({
                    "step": step,
                    "find-secs": find_secs,
                    "append-secs": append_secs,
                    "compact-secs": secs - find_secs - append_secs,
                    "peak-memory-mib": memory("VmHWM:"),
                    "disk-mib": mebibytes,
                    "files": num_files,
                })
            );
        }
    }
    for step in [1, num_steps] {
        let keys = (0..num_calls).map(|number| call(step, number).0).collect();
        let started = Instant::now();
        let found = stage.find::<Value>(&keys).expect("readable").records.len();
        let secs = started.elapsed().as_secs_f64();
        println!("{}", json!({ "calls-of-step": step, "found": found, "find-secs": secs }));
    }
    fs::remove_dir_all(&folder).expect("removable");
}
