//! Measures tokens per second of a model on this machine; prints JSON to standard output.
//!
//! The workloads equal those of `tools/bench/peers.py`: prefill reads 8 sequences of 256 tokens and
//! computes the logits of each last position; decode continues 1, 8 or 32 sequences of 128 tokens by 40
//! tokens each, sampled at temperature 1. Token ids come from a small recurrence; the decode time excludes
//! reading the 128 tokens. Every workload runs several times; the report has best and median, with
//! CPU-seconds over both.
//!
//! `cargo bench -p preceptor-models --bench throughput -- MODEL [REPEATS] [DEVICE]`

use std::path::Path;
use std::time::Instant;

use burn::tensor::Tensor;
use preceptor_core::{Sampling, Seed};
use preceptor_models::{
    Decoder, Device, KvCache, Model, SequenceId, Span, new_cache, rows_per_pass, sample_token,
    to_vec,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;
use serde_json::json;

/// The binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PREFILL: (usize, usize) = (8, 256);
const DECODE_BATCHES: [usize; 3] = [1, 8, 32];
const DECODE_CONTEXT: usize = 128;
const DECODE_STEPS: usize = 40;

/// Returns the token at `position` of sequence `sequence`.
fn made_up_token(sequence: usize, position: usize) -> u32 {
    u32::try_from(1000 + (sequence * 7919 + position * 104_729) % 40_000).expect("small")
}

fn forward(
    decoder: &dyn Decoder,
    cache: &mut dyn KvCache,
    rows: &[(SequenceId, Vec<u32>)],
) -> Tensor<2> {
    let (mut ids, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
    for (sequence, tokens) in rows {
        let before = u32::try_from(cache.len(*sequence)).expect("short");
        ids.extend_from_slice(tokens);
        positions.extend((before..).take(tokens.len()));
        spans.push(Span { sequence: *sequence, len: tokens.len() });
    }
    cache.begin(&spans);
    let hidden = decoder.forward(&ids, &positions, cache);
    cache.commit();
    hidden
}

/// Reads `len` tokens into each of `count` sequences and returns the logits of the last ones.
fn prefill(
    decoder: &dyn Decoder,
    cache: &mut dyn KvCache,
    rows_per_pass: usize,
    [count, len]: [usize; 2],
) -> (Vec<SequenceId>, Vec<f32>) {
    let sequences: Vec<_> = (0..count).map(|_| cache.open(None)).collect();
    let mut logits = Vec::new();
    for (chunk, ids) in sequences.chunks(rows_per_pass / len).enumerate() {
        let tokens = |i: usize| {
            let sequence = chunk * (rows_per_pass / len) + i;
            (0..len).map(|position| made_up_token(sequence, position)).collect()
        };
        let rows: Vec<_> = ids.iter().enumerate().map(|(i, id)| (*id, tokens(i))).collect();
        let hidden = forward(decoder, cache, &rows);
        let last = (1..=ids.len()).map(|end| hidden.clone().narrow(0, end * len - 1, 1));
        logits.extend(to_vec(decoder.logits(&Tensor::cat(last.collect(), 0))));
    }
    (sequences, logits)
}

fn decode(
    decoder: &dyn Decoder,
    cache: &mut dyn KvCache,
    sequences: &[SequenceId],
    logits: Vec<f32>,
) {
    let vocab_size = decoder.spec().vocab_size;
    let sampling = Sampling::default();
    let mut streams: Vec<_> =
        (0..sequences.len()).map(|i| Seed::root(0).derive_index(i as u64).rng()).collect();
    let mut logits = logits;
    for _ in 0..DECODE_STEPS {
        let drawn: Vec<u32> = logits
            .par_chunks(vocab_size)
            .zip(streams.iter_mut().collect::<Vec<_>>().into_par_iter())
            .map(|(logits, stream)| sample_token(logits, &sampling, stream).token)
            .collect();
        let rows: Vec<_> =
            sequences.iter().zip(&drawn).map(|(id, token)| (*id, vec![*token])).collect();
        let hidden = forward(decoder, cache, &rows);
        logits = to_vec(decoder.logits(&hidden));
    }
}

/// Returns the CPU time of this process so far in seconds, if the system reports it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    ticks.iter().sum::<f64>() / 100.0
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn measured(
    repeats: usize,
    tokens: usize,
    mut setup: impl FnMut() -> Box<dyn FnOnce()>,
) -> serde_json::Value {
    let mut walls = Vec::new();
    let mut cpu = 0.0;
    for _ in 0..repeats {
        let work = setup();
        let (wall_start, cpu_start) = (Instant::now(), cpu_seconds());
        work();
        walls.push(wall_start.elapsed().as_secs_f64());
        cpu += cpu_seconds() - cpu_start;
    }
    walls.sort_by(f64::total_cmp);
    let count = tokens as f64;
    json!({
        "tokens": tokens,
        "tokens_per_wall_second": count / walls[0],
        "tokens_per_wall_second_median": count / walls[walls.len() / 2],
        "tokens_per_cpu_second": count * repeats as f64 / cpu,
    })
}

/// Keeps freed memory, as the binary does (`mi_option_purge_delay` of mimalloc 3 is never).
fn keep_freed_memory() {
    // SAFETY: nothing else sets options, and there is no other thread yet.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) };
}

fn main() {
    keep_freed_memory();
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        println!("skipped: name a model file or folder");
        return;
    };
    let repeats = arguments.get(1).and_then(|n| n.parse().ok()).unwrap_or(3);
    let device = arguments.get(2).map_or("cpu", String::as_str);
    let loaded = Device::parse(device).and_then(|device| Model::load(Path::new(path), &device));
    let model = match loaded {
        Ok(model) => model,
        Err(error) => {
            eprintln!("failed to {error}");
            std::process::exit(2);
        }
    };
    let mut results = serde_json::Map::new();
    // Everything runs on a worker thread, as in the sampler.
    let model: &'static Model = Box::leak(Box::new(model));
    let decoder = model.decoder();
    let rows_per_pass = rows_per_pass(model.device());
    let on_worker = |work: Box<dyn FnOnce() + Send>| -> Box<dyn FnOnce()> {
        Box::new(move || {
            rayon::join(work, || ());
        })
    };
    let (count, len) = PREFILL;
    let result = measured(repeats, count * len, || {
        on_worker(Box::new(move || {
            let mut cache = new_cache(&model.replicas()[0]);
            prefill(decoder, &mut *cache, rows_per_pass, [count, len]);
        }))
    });
    results.insert(format!("prefill {count}x{len}"), result);
    for batch in DECODE_BATCHES {
        let result = measured(repeats, batch * DECODE_STEPS, || {
            let mut cache = new_cache(&model.replicas()[0]);
            let (sequences, logits) =
                prefill(decoder, &mut *cache, rows_per_pass, [batch, DECODE_CONTEXT]);
            on_worker(Box::new(move || decode(decoder, &mut *cache, &sequences, logits)))
        });
        results.insert(format!("decode {batch}"), result);
    }
    let report = json!({
        "engine": "preceptor",
        "device": device,
        "threads": rayon::current_num_threads(),
        "parameters": model.num_parameters(),
        "results": results,
    });
    println!("{}", serde_json::to_string_pretty(&report).expect("numbers are valid JSON"));
}
