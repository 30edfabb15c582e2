//! Rollouts from tokens that another engine sampled.

use preceptor_core::{FinishReason, Generator, Sampling};

use crate::support::{EventRecorder, llama_folder, load, local, request, text_prompt};

#[test]
fn replayed_rollouts_are_those_that_were_sampled() {
    let policy = local(&llama_folder(), 64);
    let prompt = text_prompt("2 + 2 =");
    let sampling = Sampling { max_new_tokens: 40, ..Sampling::default() };
    let mut events = EventRecorder::default();
    let sampled = policy.generate(&[request(prompt.clone(), 64)], &sampling, &mut events);
    let sampled = sampled.unwrap().remove(0);
    let num_prompt_tokens = policy.model().prompt_tokens(&prompt).unwrap().len();
    for rollout in &sampled {
        let (ids, logprobs) = (rollout.token_ids.clone(), rollout.logprobs.clone());
        let replayed =
            policy.model().replay(rollout.index, ids, logprobs, num_prompt_tokens, &sampling);
        assert_eq!(replayed.unwrap(), *rollout);
    }
    let finishes = |finish| sampled.iter().filter(|rollout| rollout.finish == finish).count();
    assert!(finishes(FinishReason::EndToken) > 0 && finishes(FinishReason::MaxNewTokens) > 0);
}

#[test]
fn tokens_that_are_no_rollout_are_refused() {
    let model = load(&llama_folder());
    let end = *model.end_tokens().first().unwrap();
    let sampling = Sampling { max_new_tokens: 3, ..Sampling::default() };
    let refused = |tokens: &[u32], logprobs: &[f32]| {
        let replayed = model.replay(0, tokens.to_vec(), logprobs.to_vec(), 5, &sampling);
        replayed.unwrap_err().to_string()
    };
    let messages = [
        refused(&[5, 6], &[-1.0, -1.0]),
        refused(&[5, end, 6], &[-1.0, -1.0, -1.0]),
        refused(&[5, 6, 7, 8], &[-1.0; 4]),
        refused(&[5, 6, 7], &[-1.0; 2]),
        refused(&[5, 6, 99_999], &[-1.0; 3]),
        refused(&[5, 6, 7], &[-1.0, f32::NAN, -1.0]),
    ];
    let messages = messages.map(|message| message.lines().next().unwrap().to_owned()).join("\n");
    insta::assert_snapshot!(messages, @r"
    read a rollout of another engine: 2 tokens without an end token, expected one or 3 tokens
    read a rollout of another engine: 3 tokens, with end token 316 at position 1
    read a rollout of another engine: 4 tokens without an end token, expected one or 3 tokens
    read a rollout of another engine: 3 tokens and 2 log-probabilities
    read token 99999: found an id outside of the vocabulary, expected an id below 320
    sample token 6: found log-probability NaN, expected a finite number
    ");
}
