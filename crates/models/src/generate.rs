//! Drawing rollouts: prompts read once a group, then decoding with continuous batching.
//!
//! At most `max_batch` sequences decode together. As one ends the next waiting rollout joins; a
//! prompt is read when the first of its rollouts joins, and forgotten with its last. A rollout's
//! tokens depend on the prompt, the sampling and its own random stream alone: every row of a pass is
//! computed by itself (see [`crate::kernels`]) and draws from its own stream.

use std::collections::VecDeque;

use preceptor_core::{
    FinishReason, GenerationObserver, GenerationRequest, PortError, Rollout, RolloutSeed, Sampling,
    Usage,
};
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use crate::attention::SequenceId;
use crate::engine::{Counters, Engine, Reading};
use crate::local_model::{COMPONENT, failed};
use crate::sampler::{Draw, draw_token};
use crate::tokenizer::TextStream;
use crate::{Error, Model, Replica};

/// The prompt of a request and what its rollouts share.
struct Group {
    tokens: Vec<u32>,
    sequence: Option<SequenceId>,
    /// Logits after the prompt, kept until the last rollout has joined.
    logits: Vec<f32>,
    /// Rollouts that have not ended.
    left: usize,
}

/// A rollout that is being drawn.
struct Running<'a> {
    request: usize,
    index: u32,
    stream: ChaCha8Rng,
    sequence: Option<SequenceId>,
    num_prompt_tokens: usize,
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
    /// The text so far, where stop strings are looked for.
    text: Option<TextStream<'a>>,
    finish: Option<FinishReason>,
}

/// One call of the generator.
pub(crate) struct Generation<'a> {
    engine: Engine<'a>,
    counters: &'a Counters,
    sampling: &'a Sampling,
    max_batch: usize,
    groups: Vec<Group>,
    waiting: VecDeque<(usize, RolloutSeed)>,
    running: Vec<Running<'a>>,
    done: Vec<Vec<Rollout>>,
}

impl<'a> Generation<'a> {
    pub(crate) fn new(
        model: &'a Model,
        replica: &'a Replica,
        counters: &'a Counters,
        sampling: &'a Sampling,
        max_batch: usize,
        requests: &[GenerationRequest],
    ) -> Result<Self, PortError> {
        check(sampling)?;
        let mut groups = Vec::with_capacity(requests.len());
        let mut waiting = VecDeque::new();
        for (number, request) in requests.iter().enumerate() {
            let tokens = model.prompt_tokens(&request.prompt).map_err(failed)?;
            let left = request.rollouts.len();
            groups.push(Group { tokens, sequence: None, logits: Vec::new(), left });
            waiting.extend(request.rollouts.iter().map(|rollout| (number, *rollout)));
        }
        Ok(Self {
            engine: Engine::new(model, replica),
            counters,
            sampling,
            max_batch: max_batch.max(1),
            groups,
            waiting,
            running: Vec::new(),
            done: requests.iter().map(|_| Vec::new()).collect(),
        })
    }

    pub(crate) fn run(
        mut self,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        while !self.waiting.is_empty() || !self.running.is_empty() {
            self.join_waiting(observer)?;
            self.retire(observer)?;
            if !self.running.is_empty() {
                self.step(observer)?;
                self.retire(observer)?;
            }
        }
        for rollouts in &mut self.done {
            rollouts.sort_by_key(|rollout| rollout.index);
        }
        Ok(self.done)
    }

    /// Lets waiting rollouts into free places, reading their prompts first.
    fn join_waiting(&mut self, observer: &mut dyn GenerationObserver) -> Result<(), PortError> {
        let free = self.max_batch - self.running.len();
        let joining: Vec<_> = self.waiting.drain(..free.min(self.waiting.len())).collect();
        let unread = |group: &Group| group.sequence.is_none();
        let mut prompts: Vec<usize> = joining.iter().map(|(request, _)| *request).collect();
        prompts.dedup();
        prompts
            .retain(|request| unread(&self.groups[*request]) && self.cut_off(*request).is_none());
        self.prefill(&prompts, observer);

        for (request, seed) in joining {
            let mut running = Running {
                request,
                index: seed.index,
                stream: seed.seed.rng(),
                sequence: None,
                num_prompt_tokens: self.groups[request].tokens.len(),
                tokens: Vec::new(),
                logprobs: Vec::new(),
                text: (!self.sampling.stop.is_empty())
                    .then(|| self.engine.model.tokenizer().stream()),
                finish: self.cut_off(request),
            };
            if running.finish.is_none() {
                let group = &self.groups[request];
                let draw = draw_token(&group.logits, self.sampling, &mut running.stream);
                running.take(draw, self.engine.model, self.sampling).map_err(failed)?;
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

    /// Why nothing can be drawn for a request, if so.
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
        let readings: Vec<Reading<'_>> = requests
            .iter()
            .map(|request| {
                let Group { tokens, sequence, .. } = &self.groups[*request];
                let sequence = sequence.expect("opened above");
                Reading { sequence, tokens, logits_from: tokens.len() - 1 }
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

    /// One token for every running sequence.
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
        let (model, sampling) = (self.engine.model, self.sampling);
        self.running
            .par_iter_mut()
            .zip(logits.par_chunks(model.spec().vocab_size))
            .try_for_each(|(running, logits)| {
                let draw = draw_token(logits, sampling, &mut running.stream);
                running.take(draw, model, sampling)
            })
            .map_err(failed)?;
        let count = self.running.len();
        Counters::add(&self.counters.decode_steps, 1);
        Counters::add(&self.counters.generated_tokens, count);
        observer.on_tokens(Usage { num_prompt_tokens: 0, num_generated_tokens: count as u64 });
        Ok(())
    }

    /// Hands out the rollouts that have ended and forgets what nobody needs any more.
    fn retire(&mut self, observer: &mut dyn GenerationObserver) -> Result<(), PortError> {
        let mut place = 0;
        while place < self.running.len() {
            let Some(finish) = self.running[place].finish else {
                place += 1;
                continue;
            };
            let running = self.running.remove(place);
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
            let rollout =
                running.into_rollout(finish, self.engine.model, self.sampling).map_err(failed)?;
            observer.on_rollout(request, &rollout).map_err(PortError::Stopped)?;
            self.done[request].push(rollout);
        }
        Ok(())
    }
}

impl Running<'_> {
    /// Takes a drawn token and sees whether the rollout ends with it.
    fn take(&mut self, draw: Draw, model: &Model, sampling: &Sampling) -> Result<(), Error> {
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
                // Decoding at once may treat spaces differently from decoding bit by bit.
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

/// Where the first stop string begins.
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
