//! Batch invariance on the CPU: a rollout is bit-identical whatever is sampled beside it.

use preceptor_core::{
    Continuation, FinishReason, GenerationObserver, GenerationRequest, Generator, PortError,
    Rollout, Sampling, ScoreRequest, Scorer, Usage,
};
use preceptor_models::{Device, GenerationOptions, LocalModel, Model};

use crate::support::{
    EventRecorder, Session, chat_prompt, fetched, ids, json, llama_folder, load, local, request,
    text_prompt,
};

fn sampling() -> Sampling {
    Sampling { temperature: 0.9, top_p: 0.95, max_new_tokens: 24, ..Sampling::default() }
}

fn requests(group_size: u32) -> Vec<GenerationRequest> {
    let prompts = [
        chat_prompt("What is 2 + 3?"),
        text_prompt("The answer is 12. Let x = 3; then"),
        chat_prompt("What is the sum of 12 and 30, and why is it what it is? Think about it."),
        text_prompt("a"),
        chat_prompt("Add."),
    ];
    prompts.into_iter().map(|prompt| request(prompt, group_size)).collect()
}

fn draw(model: &LocalModel, requests: &[GenerationRequest]) -> Vec<Vec<Rollout>> {
    model.generate(requests, &sampling(), &mut EventRecorder::default()).expect("generates")
}

/// Asserts that rollouts are equal in every bit of every log-probability.
fn assert_same(a: &[Vec<Rollout>], b: &[Vec<Rollout>]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert_eq!(a, b);
        let bits = |r: &Rollout| r.logprobs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(a), bits(b));
    }
}

#[test]
fn rollouts_do_not_depend_on_the_batch_size() {
    let requests = requests(8);
    let alone = draw(&local(&llama_folder(), 1), &requests);
    assert!(alone.iter().flatten().any(|rollout| rollout.token_ids.len() > 4));
    for max_batch in [8, 32] {
        assert_same(&alone, &draw(&local(&llama_folder(), max_batch), &requests));
    }
}

#[test]
fn a_smaller_group_is_the_beginning_of_a_larger_one() {
    let model = local(&llama_folder(), 32);
    let large = draw(&model, &requests(16));
    let first: Vec<Vec<Rollout>> = large.iter().map(|group| group[..4].to_vec()).collect();
    assert_same(&first, &draw(&model, &requests(4)));
}

#[test]
fn rollouts_do_not_depend_on_the_order_of_requests() {
    let model = local(&llama_folder(), 8);
    let mut requests = requests(4);
    let forward = draw(&model, &requests);
    requests.reverse();
    for request in &mut requests {
        request.rollouts.reverse();
    }
    let mut backward = draw(&model, &requests);
    backward.reverse();
    assert_same(&forward, &backward);
}

#[test]
fn rollouts_do_not_depend_on_the_number_of_threads() {
    let requests = requests(4);
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a small pool").install(|| draw(&local(&llama_folder(), 8), &requests))
    };
    let one = with_threads(1);
    assert_same(&one, &with_threads(2));
    assert_same(&one, &with_threads(5));
}

/// Stops at its second rollout.
struct Stopping(usize);

impl GenerationObserver for Stopping {
    fn on_rollout(
        &mut self,
        _: usize,
        _: &Rollout,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0 += 1;
        if self.0 < 2 { Ok(()) } else { Err("the disk is full".into()) }
    }

    fn on_tokens(&mut self, _: Usage) {}
}

#[test]
fn rollouts_and_scores_do_not_depend_on_the_number_of_devices() {
    let requests = requests(4);
    let one = local(&llama_folder(), 8);
    let rollouts = draw(&one, &requests);
    let asked: Vec<ScoreRequest> = requests
        .iter()
        .map(|request| ScoreRequest {
            prompt: request.prompt.clone(),
            continuation: Continuation::Tokens(vec![40, 41, 42]),
        })
        .collect();
    let scores = one.score(&asked).expect("scores");
    // There may be more devices than prompts.
    for num in [2, 3, 7] {
        let devices = vec![Device::cpu(); num];
        let model = Model::load_on(&llama_folder(), &devices).expect("loads");
        let several = LocalModel::new(model, GenerationOptions::with_max_batch(8));
        let mut heard = EventRecorder::default();
        let drawn = several.generate(&requests, &sampling(), &mut heard).expect("generates");
        assert_same(&rollouts, &drawn);
        assert_eq!(heard.ended.len(), requests.len() * 4);
        assert_eq!(several.counters().generated_tokens, heard.usage.num_generated_tokens);
        assert_eq!(several.score(&asked).expect("scores"), scores);

        let mut stopping = Stopping(0);
        let stopped = several.generate(&requests, &sampling(), &mut stopping);
        let PortError::Stopped(cause) = stopped.expect_err("it stops") else {
            panic!("the observer's error is told")
        };
        assert_eq!((cause.to_string().as_str(), stopping.0), ("the disk is full", 2));
        assert!(several.generate(&[], &sampling(), &mut stopping).expect("nothing").is_empty());
        assert!(several.score(&[]).expect("nothing").is_empty());
    }
}

#[test]
fn reading_at_once_equals_reading_token_by_token() {
    let model = load(&llama_folder());
    let tokens = ids(&json(&llama_folder().join("expected.json"))["input_ids"]);
    let at_once = Session::new(model.decoder()).read(&tokens);
    let mut session = Session::new(model.decoder());
    let mut one_by_one = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        // A fork in the middle, as a rollout that shares its group's prompt.
        if at == 21 {
            session.fork();
        }
        one_by_one.extend(session.read(&[*token]));
    }
    let bits = |logits: &[Vec<f32>]| -> Vec<u32> {
        logits.iter().flatten().map(|logit| logit.to_bits()).collect()
    };
    assert_eq!(bits(&at_once), bits(&one_by_one));
}

#[test]
fn scorer_and_sampler_agree_bit_for_bit() {
    for path in [Some(llama_folder()), fetched("smollm2-135m")].into_iter().flatten() {
        let model = local(&path, 8);
        let requests = requests(4);
        let rollouts = draw(&model, &requests);
        let scores: Vec<ScoreRequest> = requests
            .iter()
            .zip(&rollouts)
            .flat_map(|(request, group)| {
                group.iter().map(|rollout| ScoreRequest {
                    prompt: request.prompt.clone(),
                    continuation: Continuation::Tokens(rollout.token_ids.clone()),
                })
            })
            .collect();
        let scores = model.score(&scores).expect("scores");
        for (rollout, score) in rollouts.iter().flatten().zip(&scores) {
            assert_eq!(rollout.token_ids, score.token_ids);
            assert_eq!(rollout.logprobs, score.logprobs);
        }
    }
}

#[test]
fn the_real_model_samples_the_same_rollouts_in_any_batch() {
    let Some(path) = fetched("smollm2-135m") else { return };
    let requests = [request(chat_prompt("What is 17 + 25?"), 5), request(text_prompt("1, 2,"), 4)];
    let sampling = Sampling { max_new_tokens: 12, ..Sampling::default() };
    let run = |max_batch| {
        local(&path, max_batch)
            .generate(&requests, &sampling, &mut EventRecorder::default())
            .expect("generates")
    };
    assert_same(&run(1), &run(32));
}

#[test]
fn a_group_reads_its_prompt_once_and_everything_is_reported() {
    let model = local(&llama_folder(), 6);
    let requests = requests(16);
    let mut heard = EventRecorder::default();
    let rollouts = model.generate(&requests, &sampling(), &mut heard).expect("generates");
    let counters = model.counters();
    assert_eq!(counters.prompts_prefilled, 5);
    let prompt_tokens: u64 = rollouts.iter().map(|g| u64::from(g[0].num_prompt_tokens)).sum();
    assert_eq!(counters.prompt_tokens, prompt_tokens);
    let sampled: usize = rollouts.iter().flatten().map(|r| r.token_ids.len()).sum();
    assert_eq!(counters.generated_tokens, sampled as u64);
    assert_eq!(heard.usage.num_prompt_tokens, prompt_tokens);
    assert_eq!(heard.usage.num_generated_tokens, sampled as u64);
    assert_eq!(heard.ended.len(), 80);
    for (group, rollouts) in rollouts.iter().enumerate() {
        assert!(rollouts.iter().map(|r| r.index).eq(0..16), "group {group} is in order");
    }
}

#[test]
fn a_rollout_ends_where_it_should() {
    let model = local(&llama_folder(), 4);
    let draw = |prompt, sampling: &Sampling| {
        let requests = [request(prompt, 1)];
        let mut rollouts =
            model.generate(&requests, sampling, &mut EventRecorder::default()).expect("generates");
        rollouts.remove(0).remove(0)
    };
    let greedy = Sampling { temperature: 0.0, max_new_tokens: 16, ..Sampling::default() };
    let whole = draw(text_prompt("What is"), &greedy);
    assert_eq!(whole.finish, FinishReason::MaxNewTokens);
    assert_eq!((whole.token_ids.len(), whole.logprobs.len()), (16, 16));

    // A stop string across a token border: the last byte of one token and the first of the next.
    let pieces: Vec<String> = whole
        .token_ids
        .iter()
        .map(|id| model.model().tokenizer().decode(&[*id], true).expect("decodes"))
        .collect();
    let at = (3..15)
        .find(|at| {
            pieces[*at].is_ascii()
                && pieces[at + 1].is_ascii()
                && !pieces[*at].is_empty()
                && !pieces[at + 1].is_empty()
        })
        .expect("two plain tokens in a row");
    let last = pieces[at].chars().next_back().expect("not empty");
    let stop = format!("{last}{}", &pieces[at + 1][..1]);
    let stopped =
        draw(text_prompt("What is"), &Sampling { stop: vec![stop.clone()], ..greedy.clone() });
    assert_eq!(stopped.finish, FinishReason::StopString);
    assert!(!stopped.text.contains(&stop));
    assert_eq!(stopped.text, whole.text[..whole.text.find(&stop).expect("it is there")]);
    assert_eq!(stopped.token_ids, whole.token_ids[..stopped.token_ids.len()]);
    assert!(stopped.token_ids.len() <= at + 2);

    let context = model.model().context_length();
    let long = "a b ".repeat(context);
    let refused = draw(text_prompt(&long), &greedy);
    assert_eq!(refused.finish, FinishReason::PromptTooLong);
    assert!(refused.token_ids.is_empty());

    let mut words = String::from("x");
    while model.model().prompt_tokens(&text_prompt(&words)).expect("encodes").len() < context - 5 {
        words.push_str(" x");
    }
    let full = draw(text_prompt(&words), &Sampling { max_new_tokens: 1000, ..greedy });
    assert_eq!(full.finish, FinishReason::ContextFull);
    assert_eq!(full.num_prompt_tokens as usize + full.token_ids.len(), context);
}

#[test]
fn an_end_token_ends_a_rollout_and_stays_out_of_the_text() {
    let model = local(&llama_folder(), 32);
    let sampling = Sampling { temperature: 3.0, max_new_tokens: 400, ..Sampling::default() };
    let rollouts = model
        .generate(&[request(text_prompt("The"), 32)], &sampling, &mut EventRecorder::default())
        .expect("generates");
    let ended: Vec<_> = rollouts[0].iter().filter(|r| r.finish == FinishReason::EndToken).collect();
    assert!(!ended.is_empty(), "hot sampling over 320 tokens meets an end token");
    for rollout in ended {
        let last = *rollout.token_ids.last().expect("the end token");
        assert!(model.model().end_tokens().contains(&last));
        assert!(!rollout.text.contains("<|"));
    }
}

#[test]
fn a_device_without_kernels_scores_in_one_pass_as_the_cpu_does() {
    let score = |prompt: &str, tokens: Vec<u32>| ScoreRequest {
        prompt: text_prompt(prompt),
        continuation: Continuation::Tokens(tokens),
    };
    let asked = [
        score("The answer is 12. Let x = 3; then", vec![40, 41, 42, 7]),
        score("a", vec![9; 30]),
        score("a", Vec::new()),
        score("The answer is 12. Let x = 3; then", vec![50]),
        score("a", vec![1; 600]),
    ];
    let scores = |device: &str| {
        let device = Device::parse(device).expect("always there");
        let model = Model::load(&llama_folder(), &device).unwrap_or_else(|error| panic!("{error}"));
        let model = LocalModel::new(model, GenerationOptions::with_max_batch(8));
        model.score(&asked).expect("scores")
    };
    let (expected, found) = (scores("cpu"), scores("cpu:f16"));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.token_ids, expected.token_ids);
        assert_eq!(found.logprobs.len(), expected.logprobs.len());
        let far = found.logprobs.iter().zip(&expected.logprobs).map(|(a, b)| (a - b).abs());
        // Factors have ten bits of fraction; the tolerance is that of the parity suite.
        assert!(far.fold(0.0, f32::max) < 0.1);
    }
    let lengths = expected.iter().map(|scores| scores.logprobs.len()).collect::<Vec<_>>();
    assert_eq!(lengths, [4, 30, 0, 1, 0], "the last one is too long");
}
