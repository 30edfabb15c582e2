//! Sampling of rollouts: prompts are read once per group, then decoded with continuous batching.
//!
//! At most `max_batch` sequences decode together, and only as many as have keys and values that fit into
//! memory at their maximum length. When one ends, the next waiting rollout joins. A prompt is read when the
//! first of its rollouts joins, and freed with its last. A rollout's tokens depend only on the prompt, the
//! sampling settings and its own random stream: every row of a pass is computed independently (see
//! [`crate::kernels`]) and draws from its own stream.

use std::collections::VecDeque;

use preceptor_core::{
    FinishReason, GenerationObserver, GenerationRequest, PortError, Rollout, RolloutSeed, Sampling,
    Usage,
};
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use super::engine::{Counters, Engine, ReadRequest};
use super::sampler::{RolloutTrace, SampledToken, Trace, sample_token, sample_traced};
use crate::attention::SequenceId;
use crate::error::{COMPONENT, port_error};
use crate::format::TextStream;
use crate::{Error, Model, Replica};

/// Limits on the memory and batch size of sampling. They do not change the rollouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationOptions {
    /// The maximum number of sequences that decode together. None: 32 on the CPU, whose kernels gain little with
    /// more, else 128.
    pub max_batch: Option<usize>,
    /// Maximum bytes of keys and values on each device. None: half of the free memory at the start of
    /// a call, if the device reports it. A sequence joins if it fits at its maximum length; one
    /// sequence always runs.
    pub cache_bytes: Option<u64>,
}

impl GenerationOptions {
    /// Creates options that limit a batch to this many sequences.
    pub fn with_max_batch(max_batch: usize) -> Self {
        Self { max_batch: Some(max_batch), ..Self::default() }
    }
}

/// The prompt of a request and the state that its rollouts share.
struct Group {
    tokens: Vec<u32>,
    sequence: Option<SequenceId>,
    /// Logits after the prompt, kept until the last rollout has joined.
    logits: Vec<f32>,
    /// Number of rollouts that have not ended.
    left: usize,
}

/// A rollout that is being sampled.
struct ActiveRollout<'a> {
    request: usize,
    index: u32,
    stream: ChaCha8Rng,
    sequence: Option<SequenceId>,
    num_prompt_tokens: usize,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    trace: RolloutTrace,
    /// The text so far, if there are stop strings to find in it.
    text: Option<TextStream<'a>>,
    finish: Option<FinishReason>,
}

/// Memory reserved per value used: tables of keys and values grow by doubling.
const RESERVED: u64 = 2;

/// The rule that admits waiting rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    max_batch: usize,
    /// Number of tokens whose keys and values fit into memory, if that is known.
    max_tokens: Option<u64>,
}

impl Admission {
    /// Creates the rule for a device that does no other work.
    pub(crate) fn new(options: GenerationOptions, replica: &Replica) -> Self {
        let (device, spec) = (replica.device(), replica.decoder().spec());
        let usual = if device.has_kernels() { 32 } else { 128 };
        let bytes = options.cache_bytes.or_else(|| Some(device.free_memory()? / 2));
        let of_token = RESERVED * spec.key_value_width as u64 * device.format().size() as u64;
        Self {
            max_batch: options.max_batch.unwrap_or(usual).max(1),
            max_tokens: bytes.map(|bytes| bytes / of_token.max(1)),
        }
    }

    /// Returns how many rollouts of `waiting` join `num_running`, which have `held` tokens at their maximum
    /// length. `waiting` has the number of tokens that each may add.
    fn num_joining(
        self,
        num_running: usize,
        held: u64,
        waiting: impl Iterator<Item = u64>,
    ) -> usize {
        let mut held = held;
        let mut num_joining = 0;
        for tokens in waiting.take(self.max_batch.saturating_sub(num_running)) {
            held = held.saturating_add(tokens);
            let is_first = num_running + num_joining == 0;
            if !is_first && self.max_tokens.is_some_and(|most| held > most) {
                break;
            }
            num_joining += 1;
        }
        num_joining
    }
}

/// A call of the generator.
pub(crate) struct Generation<'a> {
    engine: Engine<'a>,
    counters: &'a Counters,
    sampling: &'a Sampling,
    trace: Option<Trace>,
    admission: Admission,
    groups: Vec<Group>,
    waiting: VecDeque<(usize, RolloutSeed)>,
    running: Vec<ActiveRollout<'a>>,
    done: Vec<Vec<(Rollout, RolloutTrace)>>,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(
        model: &'a Model,
        replica: &'a Replica,
        counters: &'a Counters,
        sampling: &'a Sampling,
        trace: Option<Trace>,
        admission: Admission,
        requests: &[GenerationRequest],
    ) -> Result<Self, PortError> {
        check(sampling)?;
        let mut groups = Vec::with_capacity(requests.len());
        let mut waiting = VecDeque::new();
        for (index, request) in requests.iter().enumerate() {
            let tokens = model.prompt_tokens(&request.prompt).map_err(port_error)?;
            let left = request.rollouts.len();
            groups.push(Group { tokens, sequence: None, logits: Vec::new(), left });
            waiting.extend(request.rollouts.iter().map(|rollout| (index, *rollout)));
        }
        Ok(Self {
            engine: Engine::new(model, replica),
            counters,
            sampling,
            trace,
            admission,
            groups,
            waiting,
            running: Vec::new(),
            done: requests.iter().map(|_| Vec::new()).collect(),
        })
    }

    pub(crate) fn run(
        mut self,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<(Rollout, RolloutTrace)>>, PortError> {
        while !self.waiting.is_empty() || !self.running.is_empty() {
            self.join_waiting(observer)?;
            self.retire(observer)?;
            if !self.running.is_empty() {
                self.step(observer)?;
                self.retire(observer)?;
            }
        }
        for rollouts in &mut self.done {
            rollouts.sort_by_key(|(rollout, _)| rollout.index);
        }
        Ok(self.done)
    }

    /// Admits waiting rollouts, after reading their prompts.
    fn join_waiting(&mut self, observer: &mut dyn GenerationObserver) -> Result<(), PortError> {
        let num_joining = self.num_joining();
        let joining: Vec<_> = self.waiting.drain(..num_joining).collect();
        let unread = |group: &Group| group.sequence.is_none();
        let mut prompts: Vec<usize> = joining.iter().map(|(request, _)| *request).collect();
        prompts.dedup();
        prompts
            .retain(|request| unread(&self.groups[*request]) && self.cut_off(*request).is_none());
        self.prefill(&prompts, observer);

        for (request, seed) in joining {
            let mut running = ActiveRollout {
                request,
                index: seed.index,
                stream: seed.seed.rng(),
                sequence: None,
                num_prompt_tokens: self.groups[request].tokens.len(),
                tokens: Vec::new(),
                logprobs: Vec::new(),
                trace: RolloutTrace::default(),
                text: (!self.sampling.stop.is_empty())
                    .then(|| self.engine.model.tokenizer().stream()),
                finish: self.cut_off(request),
            };
            if running.finish.is_none() {
                let group = &self.groups[request];
                let draw = running.sample(&group.logits, self.sampling, self.trace);
                running.append(draw, self.engine.model, self.sampling).map_err(port_error)?;
                Counters::add(&self.counters.generated_tokens, 1);
                observer.on_tokens(Usage { num_prompt_tokens: 0, num_generated_tokens: 1 });
                if running.finish.is_none() {
                    running.sequence = Some(self.engine.cache.open(group.sequence));
                }
            }
            self.running.push(running);
        }
        Ok(())
    }

    /// Returns the number of waiting rollouts that join now.
    fn num_joining(&self) -> usize {
        let of_rollout = u64::from(self.sampling.max_new_tokens);
        let of_prompt = |group: &Group| group.tokens.len() as u64;
        let prompts = self.groups.iter().filter(|group| group.sequence.is_some()).map(of_prompt);
        let held = prompts.sum::<u64>() + self.running.len() as u64 * of_rollout;
        let mut last = None;
        let waiting = self.waiting.iter().map(|(request, _)| {
            // The prompt is read with the first rollout of its group.
            let is_read = self.groups[*request].sequence.is_some() || last == Some(*request);
            last = Some(*request);
            of_rollout + if is_read { 0 } else { of_prompt(&self.groups[*request]) }
        });
        self.admission.num_joining(self.running.len(), held, waiting)
    }

    /// Returns the reason why a request can't be sampled, if there is one.
    fn cut_off(&self, request: usize) -> Option<FinishReason> {
        if self.groups[request].tokens.len() >= self.engine.model.context_length() {
            Some(FinishReason::PromptTooLong)
        } else if self.sampling.max_new_tokens == 0 {
            Some(FinishReason::MaxNewTokens)
        } else {
            None
        }
    }

    fn prefill(&mut self, requests: &[usize], observer: &mut dyn GenerationObserver) {
        for request in requests {
            self.groups[*request].sequence = Some(self.engine.cache.open(None));
        }
        let readings: Vec<ReadRequest<'_>> = requests
            .iter()
            .map(|request| {
                let Group { tokens, sequence, .. } = &self.groups[*request];
                let sequence = sequence.expect("opened above");
                ReadRequest { sequence, tokens, logits_from: tokens.len() - 1 }
            })
            .collect();
        let mut logits = vec![Vec::new(); requests.len()];
        self.engine.read(&readings, |reading, _, row| logits[reading] = row.to_vec());
        for (request, logits) in requests.iter().zip(logits) {
            let group = &mut self.groups[*request];
            group.logits = logits;
            Counters::add(&self.counters.prompts_prefilled, 1);
            Counters::add(&self.counters.prompt_tokens, group.tokens.len());
            let num_prompt_tokens = group.tokens.len() as u64;
            observer.on_tokens(Usage { num_prompt_tokens, num_generated_tokens: 0 });
        }
    }

    /// Samples a token for every running sequence.
    fn step(&mut self, observer: &mut dyn GenerationObserver) -> Result<(), PortError> {
        let rows: Vec<(SequenceId, &[u32])> = self
            .running
            .iter()
            .map(|running| {
                let last = &running.tokens[running.tokens.len() - 1..];
                (running.sequence.expect("a running rollout has a sequence"), last)
            })
            .collect();
        let hidden = self.engine.forward(&rows);
        let logits = self.engine.logits(&hidden);
        let (model, sampling, trace) = (self.engine.model, self.sampling, self.trace);
        self.running
            .par_iter_mut()
            .zip(logits.par_chunks(model.spec().vocab_size))
            .try_for_each(|(running, logits)| {
                let draw = running.sample(logits, sampling, trace);
                running.append(draw, model, sampling)
            })
            .map_err(port_error)?;
        let count = self.running.len();
        Counters::add(&self.counters.decode_steps, 1);
        Counters::add(&self.counters.generated_tokens, count);
        observer.on_tokens(Usage { num_prompt_tokens: 0, num_generated_tokens: count as u64 });
        Ok(())
    }

    /// Reports the rollouts that have ended and frees their state.
    fn retire(&mut self, observer: &mut dyn GenerationObserver) -> Result<(), PortError> {
        let mut index = 0;
        while index < self.running.len() {
            let Some(finish) = self.running[index].finish else {
                index += 1;
                continue;
            };
            let mut running = self.running.remove(index);
            if let Some(sequence) = running.sequence {
                self.engine.cache.close(sequence);
            }
            let group = &mut self.groups[running.request];
            group.left -= 1;
            if group.left == 0 {
                group.logits = Vec::new();
                if let Some(sequence) = group.sequence.take() {
                    self.engine.cache.close(sequence);
                }
            }
            let request = running.request;
            let trace = std::mem::take(&mut running.trace);
            let rollout = running
                .into_rollout(finish, self.engine.model, self.sampling)
                .map_err(port_error)?;
            observer.on_rollout(request, &rollout).map_err(PortError::Stopped)?;
            self.done[request].push((rollout, trace));
        }
        Ok(())
    }
}

impl ActiveRollout<'_> {
    /// Samples the next token.
    fn sample(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        trace: Option<Trace>,
    ) -> SampledToken {
        match trace {
            None => sample_token(logits, sampling, &mut self.stream),
            Some(wanted) => {
                sample_traced(logits, sampling, &mut self.stream, wanted, &mut self.trace)
            }
        }
    }

    /// Appends a sampled token and ends the rollout if it is the last.
    fn append(
        &mut self,
        draw: SampledToken,
        model: &Model,
        sampling: &Sampling,
    ) -> Result<(), Error> {
        // A logit that is NaN or infinite makes every log-probability of its row NaN.
        let traced = self.trace.logprobs.last().copied().filter(|logprob| !logprob.is_finite());
        let logprob = traced.unwrap_or(draw.logprob);
        if !logprob.is_finite() {
            return Err(Error::NotFiniteLogprob { action: "sample", token: draw.token, logprob });
        }
        self.tokens.push(draw.token);
        self.logprobs.push(draw.logprob);
        if model.end_tokens().contains(&draw.token) {
            self.finish = Some(FinishReason::EndToken);
            return Ok(());
        }
        if let Some(text) = &mut self.text {
            let longest = sampling.stop.iter().map(String::len).max().unwrap_or(0);
            let mut from = text.text().len().saturating_sub(longest);
            text.push(draw.token)?;
            while !text.text().is_char_boundary(from) {
                from -= 1;
            }
            if first_stop(&text.text()[from..], &sampling.stop).is_some() {
                self.finish = Some(FinishReason::StopString);
                return Ok(());
            }
        }
        if self.tokens.len() >= sampling.max_new_tokens as usize {
            self.finish = Some(FinishReason::MaxNewTokens);
        } else if self.num_prompt_tokens + self.tokens.len() >= model.context_length() {
            self.finish = Some(FinishReason::ContextFull);
        }
        Ok(())
    }

    fn into_rollout(
        self,
        finish: FinishReason,
        model: &Model,
        sampling: &Sampling,
    ) -> Result<Rollout, Error> {
        let end = self.tokens.len() - usize::from(finish == FinishReason::EndToken);
        let mut text = model.tokenizer().decode(&self.tokens[..end], true)?;
        if finish == FinishReason::StopString {
            match first_stop(&text, &sampling.stop) {
                Some(at) => text.truncate(at),
                // Decoding all tokens at once may treat spaces differently from decoding them one by one.
                None => {
                    text = self.text.map_or(text, |stream| stream.text().to_owned());
                    text.truncate(first_stop(&text, &sampling.stop).unwrap_or(text.len()));
                }
            }
        }
        Ok(Rollout {
            index: self.index,
            text,
            token_ids: self.tokens,
            logprobs: self.logprobs,
            finish,
            num_prompt_tokens: u32::try_from(self.num_prompt_tokens).unwrap_or(u32::MAX),
            reported_tokens: None,
        })
    }
}

/// Returns the start of the first stop string.
fn first_stop(text: &str, stop: &[String]) -> Option<usize> {
    stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min()
}

fn check(sampling: &Sampling) -> Result<(), PortError> {
    let refuse = |key: &str, found: f64, allowed: &str| PortError::Unsupported {
        component: COMPONENT,
        detail: format!("sample with `{key}` = {found}, expected {allowed}"),
    };
    let Sampling { temperature, top_p, min_p, .. } = *sampling;
    if !temperature.is_finite() || temperature < 0.0 {
        return Err(refuse("temperature", temperature, "a number from 0 up"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        return Err(refuse("top-p", top_p, "a number above 0 and up to 1"));
    }
    if !(0.0..=1.0).contains(&min_p) {
        return Err(refuse("min-p", min_p, "a number from 0 to 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_join_while_their_maximum_lengths_fit() {
        let rule = Admission { max_batch: 4, max_tokens: Some(100) };
        let joining = |running, held, waiting: &[u64]| {
            rule.num_joining(running, held, waiting.iter().copied())
        };
        assert_eq!(joining(0, 0, &[40, 40, 40]), 2);
        assert_eq!(joining(2, 80, &[20, 1]), 1);
        assert_eq!(joining(2, 81, &[20]), 0);
        assert_eq!(joining(0, 0, &[1, 1, 1, 1, 1]), 4, "no more than the batch");
        assert_eq!(joining(4, 0, &[1]), 0);
        assert_eq!(joining(0, 0, &[500, 1]), 1, "one always runs");
        let unknown = Admission { max_batch: 2, max_tokens: None };
        assert_eq!(unknown.num_joining(0, 0, [u64::MAX, u64::MAX].into_iter()), 2);
    }
}
