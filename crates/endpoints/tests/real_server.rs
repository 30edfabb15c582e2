//! Endpoints against a real server, where one is named.
//!
//! `PRECEPTOR_TEST_ENDPOINT` is a base URL, for example `http://localhost:8000/v1`. More, all optional:
//! `PRECEPTOR_TEST_ENDPOINT_MODEL` (default `default`), `.._DIALECT` (default `llama-cpp`), `.._KEY`, and
//! `.._SCORING`, set to `0` for servers that can't score.

use std::env;

use preceptor_core::{
    Continuation, FinishReason, GenerationRequest, Generator, Message, NoObserver, Prompt,
    PromptBody, PromptId, Role, Rollout, RolloutSeed, Sampling, ScoreRequest, Scorer, Seed,
};
use preceptor_endpoints::{Config, Endpoint};

const VARIABLE: &str = "PRECEPTOR_TEST_ENDPOINT";

fn setting(name: &str) -> Option<String> {
    env::var(format!("{VARIABLE}_{name}")).ok()
}

fn config() -> Option<Config> {
    let Ok(url) = env::var(VARIABLE) else {
        eprintln!("skipped: {VARIABLE} names no server");
        return None;
    };
    let dialect = setting("DIALECT").unwrap_or_else(|| "llama-cpp".to_owned());
    Some(Config {
        base_urls: vec![url],
        model: setting("MODEL").unwrap_or_else(|| "default".to_owned()),
        dialect: serde_json::from_value(dialect.into()).expect("the dialect is known"),
        key_env: setting("KEY").map(|_| format!("{VARIABLE}_KEY")),
        concurrency: 2,
        ..Config::default()
    })
}

fn endpoint(config: &Config) -> Endpoint {
    let key = config.key(|name| env::var(name).ok()).expect("the key is there");
    Endpoint::new("real", config, key).expect("the settings are in range")
}

fn text(prompt: &str) -> PromptBody {
    PromptBody::Text(prompt.to_owned())
}

fn draw(endpoint: &Endpoint, body: PromptBody, seeds: &[u64], sampling: &Sampling) -> Vec<Rollout> {
    let rollouts = (0..).zip(seeds);
    let request = GenerationRequest {
        prompt: Prompt::new(PromptId::new("prompt"), body),
        rollouts: rollouts
            .map(|(index, seed)| RolloutSeed { index, seed: Seed::root(*seed) })
            .collect(),
    };
    let drawn = endpoint.generate(&[request], sampling, &mut NoObserver);
    let rollouts = drawn.expect("nothing stops it").remove(0);
    assert_eq!(rollouts.len(), seeds.len(), "no call failed");
    rollouts
}

#[test]
fn a_chat_is_answered() {
    let Some(config) = config() else { return };
    let content = "Reply with one short sentence about the sea.".to_owned();
    let chat = PromptBody::Chat(vec![Message { role: Role::User, content }]);
    let sampling = Sampling { max_new_tokens: 32, ..Sampling::default() };
    let endpoint = endpoint(&config);
    for rollout in draw(&endpoint, chat, &[1, 2], &sampling) {
        println!("{rollout:?}");
        assert!(!rollout.text.is_empty());
        assert!((1..=32).contains(&rollout.num_tokens()));
        assert!(rollout.num_prompt_tokens > 0);
    }
    assert!(endpoint.spent().usage.num_generated_tokens > 0);
}

#[test]
fn a_text_is_continued_up_to_the_limit() {
    let Some(config) = config() else { return };
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 8, ..Sampling::default() };
    let rollouts = draw(&endpoint(&config), text("One, two, three, four,"), &[1, 2], &sampling);
    println!("{rollouts:?}");
    assert_eq!(rollouts[0].text, rollouts[1].text, "the most likely text is one");
    assert_eq!(rollouts[0].finish, FinishReason::MaxNewTokens);
    assert_eq!(rollouts[0].num_tokens(), 8);
}

#[test]
fn the_seed_decides_the_answer() {
    let Some(config) = config() else { return };
    let sampling = Sampling { max_new_tokens: 24, ..Sampling::default() };
    let config = Config { concurrency: 1, ..config };
    let seeds = [1, 1, 2, 3, 4];
    let rollouts = draw(&endpoint(&config), text("Once upon a time"), &seeds, &sampling);
    println!("{rollouts:?}");
    assert_eq!(rollouts[0].text, rollouts[1].text);
    assert!(rollouts[2..].iter().any(|rollout| rollout.text != rollouts[0].text));
}

#[test]
fn a_stop_string_ends_a_rollout_and_is_not_part_of_it() {
    let Some(config) = config() else { return };
    let sampling = Sampling {
        temperature: 0.0,
        max_new_tokens: 64,
        stop: vec![" eight".to_owned()],
        ..Sampling::default()
    };
    let rollouts = draw(&endpoint(&config), text("One, two, three, four, five,"), &[1], &sampling);
    println!("{rollouts:?}");
    assert_eq!(rollouts[0].text, " six, seven,");
    assert!(!rollouts[0].finish.is_truncated());
}

#[test]
fn a_prompt_over_the_context_window_is_told_apart() {
    let Some(config) = config() else { return };
    let sampling = Sampling { max_new_tokens: 1, ..Sampling::default() };
    let rollouts = draw(&endpoint(&config), text(&"word ".repeat(200_000)), &[1], &sampling);
    assert_eq!(rollouts[0].finish, FinishReason::PromptTooLong);
}

#[test]
fn likely_text_scores_above_unlikely_text() {
    let Some(config) = config() else { return };
    if setting("SCORING").as_deref() == Some("0") {
        eprintln!("skipped: {VARIABLE}_SCORING is 0");
        return;
    }
    let request = |continuation: &str| ScoreRequest {
        prompt: Prompt::new(PromptId::new("p"), text("one two three four five")),
        continuation: Continuation::Text(continuation.to_owned()),
    };
    let config = Config { scoring: true, ..config };
    let requests = [request(" six seven"), request(" purple seven"), request("")];
    let scores = endpoint(&config).score(&requests).unwrap();
    println!("{scores:?}");
    let sums: Vec<f32> = scores.iter().map(|scores| scores.logprobs.iter().sum()).collect();
    assert!(scores[0].logprobs.len() >= 2 && scores[2].logprobs.is_empty());
    assert!(scores.iter().flat_map(|scores| &scores.logprobs).all(|logprob| *logprob <= 0.0));
    assert!(sums[0] > sums[1] + 1.0, "{sums:?}");
}
