//! Measures tokens per second of a whole update on this machine and prints JSON to standard output.
//!
//! An update is forward, backward and AdamW of all weights on 4 sequences (or SEQUENCES) of 256 tokens, with
//! the loss of every token, as in `tools/bench/update_peers.py`. The report has best and median of the
//! repeats and the peak memory of the process. With `recomputed`, layer states are not stored.
//!
//! `cargo bench -p preceptor-trainer --bench update -- MODEL [REPEATS] [DEVICE] [kept|recomputed] [SEQUENCES] [ROWS PER PASS]`

use std::path::Path;
use std::time::Instant;

use preceptor_models::{Device, LayerStates, Model, Trainable};
use preceptor_trainer::objective::Sequence;
use preceptor_trainer::objective::sft::{self, Sft};
use preceptor_trainer::{AdamWConfig, Group, Learner, OptimizerConfig, Schedule, ScheduleConfig};
use serde_json::json;

/// The binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKENS: usize = 256;

fn token(sequence: usize, position: usize) -> u32 {
    u32::try_from(1000 + (sequence * 7919 + position * 104_729) % 40_000).expect("small")
}

fn group(sequence: usize) -> Group {
    let tokens: Vec<u32> = (0..=TOKENS).map(|position| token(sequence, position)).collect();
    Group {
        prompt: tokens[..1].to_vec(),
        rollouts: vec![tokens[1..].to_vec()],
        sequences: vec![Sequence { num_tokens: TOKENS, sampled: None }],
    }
}

/// Reads a value of `/proc/self/status` in MiB, if the system has it.
fn memory(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Keeps freed memory, as the binary does (`mi_option_purge_delay` of mimalloc 3 is never).
fn keep_freed_memory() {
    // SAFETY: nothing else sets options, and there is no other thread yet.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) };
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn main() {
    keep_freed_memory();
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        println!("skipped: name a model file or folder");
        return;
    };
    let repeats: usize = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(5);
    let device = arguments.get(2).map_or("cpu", String::as_str);
    let loaded = Device::parse(device).and_then(|device| Model::load(Path::new(path), &device));
    let model = match loaded {
        Ok(model) => model,
        Err(error) => {
            eprintln!("failed to {error}");
            std::process::exit(2);
        }
    };
    let sequences = arguments.get(4).and_then(|n| n.parse().ok()).unwrap_or(4);
    let rows = arguments.get(5).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let groups: Vec<Group> = (0..sequences).map(group).collect();
    let schedule = ScheduleConfig { learning_rate: 1e-5, ..ScheduleConfig::default() };
    let schedule = Schedule::new(&schedule, repeats as u64);
    let trainable = Trainable::full(&model);
    drop(model);
    let states = match arguments.get(3).map(String::as_str) {
        Some("recomputed") => LayerStates::Recomputed,
        _ => LayerStates::Kept,
    };
    let learner =
        Learner::new(trainable, &OptimizerConfig::AdamW(AdamWConfig::default()), schedule, rows);
    let mut learner = learner.with_layer_states(states);
    let objective = Sft::new(&sft::Config::default());
    let (mut walls, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let start = Instant::now();
        let (report, ()) = rayon::join(|| learner.update(&groups, &objective), || ());
        walls.push(start.elapsed().as_secs_f64());
        losses.push(report.expect("the loss is a number").loss);
    }
    walls.sort_by(f64::total_cmp);
    let tokens = (sequences * TOKENS) as f64;
    let report = json!({
        "engine": "preceptor",
        "device": device,
        "layer_states": format!("{states:?}"),
        "threads": rayon::current_num_threads(),
        "tokens_per_wall_second": tokens / walls[0],
        "tokens_per_wall_second_median": tokens / walls[walls.len() / 2],
        "peak_memory_mib": memory("VmHWM"),
        "losses": losses,
    });
    println!("{}", serde_json::to_string_pretty(&report).expect("numbers are valid JSON"));
}
