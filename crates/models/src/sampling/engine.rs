//! Forward passes over packed rows of many sequences, shared by the sampler and the scorer.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::Tensor;

use crate::attention::{CpuKvCache, KvCache, SequenceId, SlotKvCache, Span, TensorKvCache};
use crate::kernels::LANES;
use crate::ops::to_vec;
use crate::{Device, Model, Replica};

/// Returns the number of rows per forward pass while prompts are read: on a CPU as many as fit its caches, on
/// a GPU enough to keep it busy.
pub fn rows_per_pass(device: &Device) -> usize {
    if device.has_kernels() { 512 } else { 4096 }
}

/// Number of rows whose logits are in memory at once.
const LOGIT_ROWS: usize = 64;

/// Counts of the work of a model so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Prompts read; one per group.
    pub prompts_prefilled: u64,
    /// Tokens of those prompts.
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub generated_tokens: u64,
    /// Forward passes of one token per sequence.
    pub decode_steps: u64,
    /// Tokens scored.
    pub scored_tokens: u64,
}

/// Counters of the work of a model.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) prompts_prefilled: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generated_tokens: AtomicU64,
    pub(crate) decode_steps: AtomicU64,
    pub(crate) scored_tokens: AtomicU64,
}

impl Counters {
    pub(crate) fn values(&self) -> CounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            prompts_prefilled: read(&self.prompts_prefilled),
            prompt_tokens: read(&self.prompt_tokens),
            generated_tokens: read(&self.generated_tokens),
            decode_steps: read(&self.decode_steps),
            scored_tokens: read(&self.scored_tokens),
        }
    }

    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Creates an empty cache of the kind that suits the model and its device.
pub fn new_cache(replica: &Replica) -> Box<dyn KvCache + Send> {
    if !replica.device().has_kernels() {
        Box::new(SlotKvCache::new())
    } else if replica.decoder().spec().head_dim.is_multiple_of(LANES) {
        Box::new(CpuKvCache::new())
    } else {
        Box::new(TensorKvCache::new())
    }
}

/// A model with the cache of one call.
pub(crate) struct Engine<'a> {
    pub(crate) model: &'a Model,
    replica: &'a Replica,
    pub(crate) cache: Box<dyn KvCache + Send>,
}

/// Tokens that a sequence reads.
#[derive(Debug)]
pub(crate) struct ReadRequest<'a> {
    pub(crate) sequence: SequenceId,
    pub(crate) tokens: &'a [u32],
    /// The index of the first token whose logits are wanted.
    pub(crate) logits_from: usize,
}

impl<'a> Engine<'a> {
    /// Creates an engine on one of the model's devices.
    pub(crate) fn new(model: &'a Model, replica: &'a Replica) -> Self {
        Self { model, replica, cache: new_cache(replica) }
    }

    /// Runs a forward pass and returns the hidden states of all rows.
    pub(crate) fn forward(&mut self, rows: &[(SequenceId, &[u32])]) -> Tensor<2> {
        let (mut ids, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for (sequence, tokens) in rows {
            let before = self.cache.len(*sequence);
            ids.extend_from_slice(tokens);
            let end = before + tokens.len();
            positions.extend((before..end).map(|p| u32::try_from(p).expect("a context is short")));
            spans.push(Span { sequence: *sequence, len: tokens.len() });
        }
        let (decoder, cache) = (self.replica.decoder(), &mut *self.cache);
        // Joining with an empty task moves the pass to a worker thread, where spawning work is cheap.
        rayon::join(
            || {
                cache.begin(&spans);
                let hidden = decoder.forward(&ids, &positions, cache);
                cache.commit();
                hidden
            },
            || (),
        )
        .0
    }

    /// Computes the logits of hidden states, row by row.
    pub(crate) fn logits(&self, hidden: &Tensor<2>) -> Vec<f32> {
        let decoder = self.replica.decoder();
        to_vec(rayon::join(|| decoder.logits(hidden), || ()).0)
    }

    /// Reads tokens in passes of at most [`rows_per_pass`] rows and passes the wanted logits to
    /// `take(reading, token, logits)`, reading by reading in the order of their ends.
    pub(crate) fn read(
        &mut self,
        readings: &[ReadRequest<'_>],
        mut take: impl FnMut(usize, usize, &[f32]),
    ) {
        let vocab_size = self.model.spec().vocab_size;
        let rows_per_pass = rows_per_pass(self.replica.device());
        let (mut reading, mut at) = (0, 0);
        while reading < readings.len() {
            let mut rows = Vec::new();
            let mut wanted = Vec::new();
            let mut used = 0;
            while reading < readings.len() && used < rows_per_pass {
                let ReadRequest { sequence, tokens, logits_from } = &readings[reading];
                let len = (tokens.len() - at).min(rows_per_pass - used);
                if len > 0 {
                    rows.push((*sequence, &tokens[at..at + len]));
                    for token in (*logits_from).max(at)..at + len {
                        wanted.push((used + token - at, reading, token));
                    }
                }
                used += len;
                at += len;
                if at == tokens.len() {
                    (reading, at) = (reading + 1, 0);
                }
            }
            if rows.is_empty() {
                break;
            }
            let hidden = self.forward(&rows);
            for wanted in wanted.chunks(LOGIT_ROWS) {
                let rows = wanted.iter().map(|(row, _, _)| hidden.clone().narrow(0, *row, 1));
                let logits = self.logits(&Tensor::cat(rows.collect(), 0));
                for ((_, reading, token), logits) in wanted.iter().zip(logits.chunks(vocab_size)) {
                    take(*reading, *token, logits);
                }
            }
        }
    }
}
