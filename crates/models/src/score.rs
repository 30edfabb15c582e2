//! Log-probabilities of given continuations, batched.
//!
//! Requests with the same prompt tokens read it once. Only the rows before a continuation's tokens
//! get logits, a few rows at a time. On the CPU rows are computed as in sampling, so the numbers are
//! those that the sampler kept with its tokens; on other devices a batch is one pass, as in an update,
//! of which the log-probabilities alone come to the host.

use std::collections::BTreeMap;

use preceptor_core::{Continuation, PortError, ScoreRequest, TokenScores};

use crate::attention::SequenceId;
use crate::engine::{Counters, Engine, Reading};
use crate::local_model::failed;
use crate::sampler::token_logprob;
use crate::{Decoder, GroupBatch, Model, Replica, TokenGroup, ops};

/// Tokens whose keys and values are held at once; a single longer request still fits.
const TOKENS_A_BATCH: usize = 8192;

/// A prompt and the requests that share it.
struct Shared {
    prompt: Vec<u32>,
    requests: Vec<usize>,
}

pub(crate) fn score(
    model: &Model,
    replica: &Replica,
    counters: &Counters,
    requests: &[ScoreRequest],
) -> Result<Vec<TokenScores>, PortError> {
    let mut shared: Vec<Shared> = Vec::new();
    let mut places: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    let mut scores = Vec::with_capacity(requests.len());
    for (number, request) in requests.iter().enumerate() {
        let prompt = model.prompt_tokens(&request.prompt).map_err(failed)?;
        let token_ids = match &request.continuation {
            Continuation::Tokens(tokens) => tokens.clone(),
            Continuation::Text(text) => model.tokenizer().encode(text, false).map_err(failed)?,
        };
        model.check_tokens(&token_ids).map_err(failed)?;
        let len = prompt.len() + token_ids.len();
        let fits = len <= model.context_length();
        scores.push(TokenScores { token_ids, logprobs: Vec::new() });
        if !fits {
            continue;
        }
        Counters::add(&counters.scored_tokens, scores[number].token_ids.len());
        let place = *places.entry(prompt.clone()).or_insert_with(|| {
            shared.push(Shared { prompt, requests: Vec::new() });
            shared.len() - 1
        });
        shared[place].requests.push(number);
    }

    let mut engine = Engine::new(model, replica);
    let mut first = 0;
    while first < shared.len() {
        let mut tokens = 0;
        let mut end = first;
        while end < shared.len() && (end == first || tokens < TOKENS_A_BATCH) {
            let continuations = shared[end].requests.iter().map(|r| scores[*r].token_ids.len());
            tokens += shared[end].prompt.len() + continuations.sum::<usize>();
            end += 1;
        }
        let batch = &shared[first..end];
        for shared in batch {
            Counters::add(&counters.prompts_prefilled, 1);
            Counters::add(&counters.prompt_tokens, shared.prompt.len());
        }
        if replica.device().has_kernels() {
            score_batch(&mut engine, batch, &mut scores);
        } else {
            score_in_one_pass(replica.decoder(), batch, &mut scores);
        }
        first = end;
    }
    Ok(scores)
}

fn score_in_one_pass(decoder: &dyn Decoder, batch: &[Shared], scores: &mut [TokenScores]) {
    let continuations: Vec<Vec<Vec<u32>>> = batch
        .iter()
        .map(|shared| shared.requests.iter().map(|r| scores[*r].token_ids.clone()).collect())
        .collect();
    if continuations.iter().flatten().all(Vec::is_empty) {
        return;
    }
    let groups: Vec<TokenGroup<'_>> = batch
        .iter()
        .zip(&continuations)
        .map(|(shared, rollouts)| TokenGroup { prompt: &shared.prompt, rollouts })
        .collect();
    let (logprobs, _) = GroupBatch::new(&groups).token_logprobs(decoder);
    let mut rest = ops::to_vec(logprobs).into_iter();
    for request in batch.iter().flat_map(|shared| &shared.requests) {
        let TokenScores { token_ids, logprobs } = &mut scores[*request];
        logprobs.extend(rest.by_ref().take(token_ids.len()));
    }
}

fn score_batch(engine: &mut Engine<'_>, batch: &[Shared], scores: &mut [TokenScores]) {
    let prompts: Vec<SequenceId> = batch.iter().map(|_| engine.cache.open(None)).collect();
    let readings: Vec<Reading<'_>> = batch
        .iter()
        .zip(&prompts)
        .map(|(shared, sequence)| Reading {
            sequence: *sequence,
            tokens: &shared.prompt,
            logits_from: shared.prompt.len() - 1,
        })
        .collect();
    engine.read(&readings, |reading, _, logits| {
        for request in &batch[reading].requests {
            let TokenScores { token_ids, logprobs } = &mut scores[*request];
            logprobs.extend(token_ids.first().map(|token| token_logprob(logits, *token)));
        }
    });

    // The last token of a continuation is only predicted, never read.
    let mut continued = Vec::new();
    for (shared, prompt) in batch.iter().zip(&prompts) {
        for request in &shared.requests {
            if scores[*request].token_ids.len() > 1 {
                let sequence = engine.cache.open(Some(*prompt));
                continued.push((sequence, *request, scores[*request].token_ids.clone()));
            }
        }
    }
    let readings: Vec<Reading<'_>> = continued
        .iter()
        .map(|(sequence, _, tokens)| Reading {
            sequence: *sequence,
            tokens: &tokens[..tokens.len() - 1],
            logits_from: 0,
        })
        .collect();
    engine.read(&readings, |reading, token, logits| {
        let TokenScores { token_ids, logprobs } = &mut scores[continued[reading].1];
        logprobs.push(token_logprob(logits, token_ids[token + 1]));
    });
    for (sequence, _, _) in &continued {
        engine.cache.close(*sequence);
    }
    for sequence in prompts {
        engine.cache.close(sequence);
    }
}
