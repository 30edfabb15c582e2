//! Batched log-probabilities of given continuations.
//!
//! Requests with the same prompt tokens share one reading of it. Only the rows before a continuation's
//! tokens get logits, a few rows at a time. On the CPU rows are computed as in sampling, so the values are
//! those that the sampler recorded. On other devices a batch is one pass, as in an update, and only the
//! log-probabilities are copied to the host.

use std::collections::BTreeMap;

use preceptor_core::{Continuation, PortError, ScoreRequest, TokenDistribution, TokenScores};

use super::engine::{Counters, Engine, ReadRequest};
use super::sampler::token_logprob_under;
use crate::attention::SequenceId;
use crate::decoder::Decoder;
use crate::error::port_error;
use crate::training::{GroupBatch, TokenGroup};
use crate::{Error, Model, Replica, ops};

/// Tokens whose keys and values are in memory at once; a single longer request still fits.
const TOKENS_PER_BATCH: usize = 8192;

/// A prompt and the requests that share it.
struct SharedPrompt {
    prompt: Vec<u32>,
    requests: Vec<usize>,
}

pub(crate) fn score(
    model: &Model,
    replica: &Replica,
    counters: &Counters,
    requests: &[ScoreRequest],
    distributions: &[TokenDistribution],
) -> Result<Vec<TokenScores>, PortError> {
    let mut shared: Vec<SharedPrompt> = Vec::new();
    let mut index_of: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
    let mut scores = Vec::with_capacity(requests.len());
    for (request_index, request) in requests.iter().enumerate() {
        let prompt = model.prompt_tokens(&request.prompt).map_err(port_error)?;
        let token_ids = match &request.continuation {
            Continuation::Tokens(tokens) => tokens.clone(),
            Continuation::Text(text) => {
                model.tokenizer().encode(text, false).map_err(port_error)?
            }
        };
        model.check_tokens(&token_ids).map_err(port_error)?;
        let len = prompt.len() + token_ids.len();
        let fits = len <= model.context_length();
        scores.push(TokenScores { token_ids, logprobs: Vec::new() });
        if !fits {
            continue;
        }
        Counters::add(&counters.scored_tokens, scores[request_index].token_ids.len());
        let index = *index_of.entry(prompt.clone()).or_insert_with(|| {
            shared.push(SharedPrompt { prompt, requests: Vec::new() });
            shared.len() - 1
        });
        shared[index].requests.push(request_index);
    }

    let mut engine = Engine::new(model, replica);
    let mut first = 0;
    while first < shared.len() {
        let mut tokens = 0;
        let mut end = first;
        while end < shared.len() && (end == first || tokens < TOKENS_PER_BATCH) {
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
            score_batch(&mut engine, batch, distributions, &mut scores);
        } else {
            score_in_one_pass(replica.decoder(), batch, distributions, &mut scores);
        }
        for request in batch.iter().flat_map(|shared| &shared.requests) {
            check_finite(&scores[*request]).map_err(port_error)?;
        }
        first = end;
    }
    Ok(scores)
}

/// Rejects log-probabilities that are NaN or infinite.
fn check_finite(scores: &TokenScores) -> Result<(), Error> {
    let mut tokens = scores.token_ids.iter().zip(&scores.logprobs);
    match tokens.find(|(_, logprob)| !logprob.is_finite()) {
        None => Ok(()),
        Some((&token, &logprob)) => {
            Err(Error::NotFiniteLogprob { action: "score", token, logprob })
        }
    }
}

/// Computes the log-probability of the token at index `token` of a continuation.
fn logprob(logits: &[f32], ids: &[u32], token: usize, distribution: &TokenDistribution) -> f32 {
    let kept = distribution.kept.as_ref().map(|kept| kept[token].as_slice());
    token_logprob_under(logits, ids[token], distribution.temperature, kept)
}

fn score_in_one_pass(
    decoder: &dyn Decoder,
    batch: &[SharedPrompt],
    distributions: &[TokenDistribution],
    scores: &mut [TokenScores],
) {
    let mut requests = batch.iter().flat_map(|shared| &shared.requests);
    let Some(first) = requests.next() else { return };
    let temperature = distributions[*first].temperature;
    let others = |request: &usize| distributions[*request].temperature == temperature;
    assert!(requests.clone().all(others), "one pass has one temperature");
    let cut = distributions[*first].kept.is_some();
    assert!(requests.all(|request| distributions[*request].kept.is_some() == cut), "all or none");
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
    let kept = batch
        .iter()
        .flat_map(|shared| &shared.requests)
        .filter_map(|request| distributions[*request].kept.as_ref())
        .flat_map(|kept| kept.iter().cloned());
    let passed = GroupBatch::new(&groups).with_distribution(temperature, kept.collect());
    let (logprobs, _) = passed.token_logprobs(decoder);
    let mut rest = ops::to_vec(logprobs).into_iter();
    for request in batch.iter().flat_map(|shared| &shared.requests) {
        let TokenScores { token_ids, logprobs } = &mut scores[*request];
        logprobs.extend(rest.by_ref().take(token_ids.len()));
    }
}

fn score_batch(
    engine: &mut Engine<'_>,
    batch: &[SharedPrompt],
    distributions: &[TokenDistribution],
    scores: &mut [TokenScores],
) {
    let prompts: Vec<SequenceId> = batch.iter().map(|_| engine.cache.open(None)).collect();
    let readings: Vec<ReadRequest<'_>> = batch
        .iter()
        .zip(&prompts)
        .map(|(shared, sequence)| ReadRequest {
            sequence: *sequence,
            tokens: &shared.prompt,
            logits_from: shared.prompt.len() - 1,
        })
        .collect();
    engine.read(&readings, |reading, _, logits| {
        for request in &batch[reading].requests {
            let TokenScores { token_ids, logprobs } = &mut scores[*request];
            if !token_ids.is_empty() {
                logprobs.push(logprob(logits, token_ids, 0, &distributions[*request]));
            }
        }
    });

    // The last token of a continuation is predicted but not read.
    let mut continued = Vec::new();
    for (shared, prompt) in batch.iter().zip(&prompts) {
        for request in &shared.requests {
            if scores[*request].token_ids.len() > 1 {
                let sequence = engine.cache.open(Some(*prompt));
                continued.push((sequence, *request, scores[*request].token_ids.clone()));
            }
        }
    }
    let readings: Vec<ReadRequest<'_>> = continued
        .iter()
        .map(|(sequence, _, tokens)| ReadRequest {
            sequence: *sequence,
            tokens: &tokens[..tokens.len() - 1],
            logits_from: 0,
        })
        .collect();
    engine.read(&readings, |reading, token, logits| {
        let request = continued[reading].1;
        let TokenScores { token_ids, logprobs } = &mut scores[request];
        logprobs.push(logprob(logits, token_ids, token + 1, &distributions[request]));
    });
    for (sequence, _, _) in &continued {
        engine.cache.close(*sequence);
    }
    for sequence in prompts {
        engine.cache.close(sequence);
    }
}
