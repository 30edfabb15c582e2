//! Log-probabilities of given text.

use preceptor_core::{Continuation, PortError, Prompt, PromptBody, PromptId, ScoreRequest, Scorer};
use preceptor_endpoints::{Config, Dialect};
use preceptor_testkit::server::{Act, Received, Server, error, ok};
use serde_json::{Value, json};

use crate::support::{chain, chat, config, endpoint};

fn text(prompt: &str, continuation: &str) -> ScoreRequest {
    ScoreRequest {
        prompt: Prompt::new(PromptId::new("prompt"), PromptBody::Text(prompt.to_owned())),
        continuation: Continuation::Text(continuation.to_owned()),
    }
}

fn scoring(server: &Server, dialect: Dialect) -> Config {
    Config { dialect, scoring: true, ..config(server) }
}

/// A token per character; each costs its position.
fn echo(received: &Received) -> Act {
    let prompt = received.body["prompt"].as_str().expect("a text was sent");
    let drawn = if received.body["max_tokens"] == 1 { "!" } else { "" };
    let whole = format!("{prompt}{drawn}");
    let tokens: Vec<String> = whole.chars().map(String::from).collect();
    let numbers = (0..tokens.len()).map(|i| if i == 0 { Value::Null } else { json!(-(i as f64)) });
    let offsets: Vec<usize> = (0..tokens.len()).collect();
    let logprobs = json!({
        "tokens": tokens, "token_logprobs": numbers.collect::<Vec<_>>(), "text_offset": offsets,
    });
    ok(json!({
        "choices": [{"text": whole, "finish_reason": "length", "logprobs": logprobs}],
        "usage": {"prompt_tokens": tokens.len()  , "completion_tokens": drawn.len()},
    }))
}

#[test]
fn continuations_are_scored_token_by_token() {
    for dialect in [Dialect::Vllm, Dialect::LlamaCpp] {
        let server = Server::start(echo);
        let endpoint = endpoint(&scoring(&server, dialect));
        let requests = [text("ab", "cd"), text("abc", "d"), text("ab", "")];
        let scores = endpoint.score(&requests).unwrap();
        let logprobs: Vec<_> = scores.iter().map(|scores| scores.logprobs.clone()).collect();
        assert_eq!(logprobs, [vec![-2.0, -3.0], vec![-3.0], vec![]]);
        assert!(scores.iter().all(|scores| scores.token_ids.is_empty()));
        let received = server.received();
        assert_eq!(received.len(), 2, "nothing is asked for an empty continuation");
        assert!(
            received.iter().all(|call| call.body["echo"] == true && call.path == "/v1/completions")
        );
        assert!(endpoint.spent().usage.num_prompt_tokens >= 8);
    }
}

#[test]
fn a_text_over_the_context_window_has_no_log_probabilities() {
    let server = Server::start(|received| match received.body["prompt"].as_str() {
        Some("ab") => echo(received),
        _ => error(400, "This model's maximum context length is 2 tokens"),
    });
    let endpoint = endpoint(&scoring(&server, Dialect::Vllm));
    let scores = endpoint.score(&[text("a", "b"), text("a", "bcd")]).unwrap();
    assert_eq!(scores[0].logprobs, [-1.0]);
    assert!(scores[1].logprobs.is_empty());
}

#[test]
fn unscorable_text_is_refused_before_any_call() {
    let server = Server::start(echo);
    let refused = |config: &Config, request: ScoreRequest| {
        let error = endpoint(config).score(&[request]).unwrap_err();
        assert!(matches!(error, PortError::Unsupported { .. }), "{error:?}");
        error.to_string()
    };
    let on = scoring(&server, Dialect::Vllm);
    let messages = [
        refused(&config(&server), text("a", "b")),
        refused(&on, ScoreRequest { prompt: chat("a"), ..text("a", "b") }),
        refused(
            &on,
            ScoreRequest { continuation: Continuation::Tokens(vec![1]), ..text("a", "b") },
        ),
    ];
    insta::assert_snapshot!(messages.join("\n"), @"
    use the endpoint: the setting `scoring` is off; switch it on if the server returns prompts with log-probabilities (vLLM, llama-cpp-python)
    use the endpoint: only continuations of plain text can be scored; only the server knows the chat template
    use the endpoint: only continuations given as text can be scored, not as tokens
    ");
    assert!(server.received().is_empty());
}

#[test]
fn a_failed_score_stops() {
    let server = Server::start(|_| error(400, "Only no echo is supported"));
    let endpoint = endpoint(&scoring(&server, Dialect::LlamaCpp));
    let error = endpoint.score(&[text("a", "b")]).unwrap_err();
    assert!(matches!(error, PortError::Failed { .. }));
    insta::assert_snapshot!(chain(&error), @"use the endpoint: score at endpoint `policy`: rejected: HTTP 400: Only no echo is supported");
}
