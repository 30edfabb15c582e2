//! Rollouts and errors made from answers.

use preceptor_core::{
    FinishReason, GenerationRequest, Generator, Prompt, PromptBody, PromptId, Sampling, Usage,
};
use preceptor_endpoints::{Config, Dialect};
use preceptor_testkit::server::{Act, Server, error, ok, says};
use serde_json::{Value, json};

use crate::support::{Heard, config, draw_one, endpoint, request, seed};

fn choosing(choice: Value) -> Act {
    ok(json!({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}))
}

fn drawn(act: impl Fn() -> Act + Send + Sync + 'static) -> preceptor_core::Rollout {
    let server = Server::start(move |_| act());
    draw_one(&endpoint(&config(&server)))
}

#[test]
fn each_rollout_is_one_call_and_groups_come_by_rising_index() {
    let server = Server::start(|received| says(&format!("seed {}", received.seed())));
    let endpoint = endpoint(&config(&server));
    let text = Prompt::new(PromptId::new("t"), PromptBody::Text("2+2=".to_owned()));
    let second = GenerationRequest { prompt: text, ..request([5]) };
    let mut heard = Heard::default();
    let requests = [request([3, 0, 2]), second, request([])];
    let drawn = endpoint.generate(&requests, &Sampling::default(), &mut heard).unwrap();

    let indices: Vec<Vec<u32>> =
        drawn.iter().map(|group| group.iter().map(|rollout| rollout.index).collect()).collect();
    assert_eq!(indices, [vec![0, 2, 3], vec![5], vec![]]);
    for rollout in drawn.iter().flatten() {
        assert_eq!(rollout.text, format!("seed {}", seed(rollout.index).to_u31()));
        assert_eq!((rollout.num_prompt_tokens, rollout.reported_tokens), (10, Some(5)));
        assert_eq!(rollout.num_tokens(), 5);
        assert!(rollout.token_ids.is_empty());
    }
    assert_eq!(heard.rollouts.len(), 4);
    assert_eq!(heard.usage, Usage { num_prompt_tokens: 40, num_generated_tokens: 20 });
    assert_eq!(endpoint.spent().usage, heard.usage);

    let mut received = server.received();
    assert!(received.iter().all(|call| call.authorization.is_none()));
    received.sort_by_key(|call| call.path.clone());
    let paths: Vec<_> = received.iter().map(|call| call.path.as_str()).collect();
    let chat = "/v1/chat/completions";
    assert_eq!(paths, [chat, chat, chat, "/v1/completions"]);
    assert_eq!(received[0].body["messages"][0]["content"], "What is 2+2?");
    assert_eq!(received[3].body["prompt"], "2+2=");
}

#[test]
fn the_limit_is_named_as_the_dialect_names_it() {
    let server = Server::start(|_| says("4"));
    for (dialect, key) in [
        (Dialect::OpenAi, "max_completion_tokens"),
        (Dialect::Vllm, "max_tokens"),
        (Dialect::LlamaCpp, "max_tokens"),
        (Dialect::Ollama, "max_tokens"),
    ] {
        draw_one(&endpoint(&Config { dialect, ..config(&server) }));
        let body = &server.received().pop().unwrap().body;
        let limits: Vec<_> =
            body.as_object().unwrap().keys().filter(|key| key.starts_with("max")).collect();
        assert_eq!(limits, [key]);
        assert_eq!(body[key], 512);
    }
}

#[test]
fn a_setting_that_cannot_be_said_is_an_error_before_any_call() {
    let server = Server::start(|_| says("4"));
    let sampling = Sampling { top_k: 40, ..Sampling::default() };
    let result =
        endpoint(&config(&server)).generate(&[request([0])], &sampling, &mut Heard::default());
    assert!(matches!(result, Err(preceptor_core::PortError::Unsupported { .. })));
    assert!(server.received().is_empty());
}

#[test]
fn an_answer_without_usage_is_still_an_answer() {
    let server = Server::start(|_| {
        let logprobs = json!({"content": [{"logprob": -0.1}, {"logprob": -0.2}]});
        let message = json!({"content": "4"});
        ok(json!({"choices": [
            {"message": message, "finish_reason": "stop", "logprobs": logprobs}
        ]}))
    });
    let endpoint = endpoint(&config(&server));
    let mut heard = Heard::default();
    let drawn = endpoint.generate(&[request([0])], &Sampling::default(), &mut heard).unwrap();
    let rollout = &drawn[0][0];
    assert_eq!((rollout.text.as_str(), rollout.num_prompt_tokens), ("4", 0));
    assert_eq!(rollout.reported_tokens, None);
    assert_eq!(rollout.logprobs, [-0.1, -0.2]);
    // What is known is counted: the log-probabilities tell of two tokens.
    assert_eq!(heard.usage, Usage { num_prompt_tokens: 0, num_generated_tokens: 2 });
    assert_eq!(endpoint.spent().usage, Usage::default());
}

#[test]
fn refusals_and_filters_are_data() {
    let refusal = drawn(|| {
        choosing(json!({
            "message": {"content": null, "refusal": "I can't help with that."},
            "finish_reason": "stop",
        }))
    });
    assert_eq!(refusal.finish, FinishReason::Refused);
    assert_eq!(refusal.text, "I can't help with that.");
    let cut = drawn(|| {
        choosing(json!({"message": {"content": "First,"}, "finish_reason": "content_filter"}))
    });
    assert_eq!((cut.finish, cut.text.as_str()), (FinishReason::Refused, "First,"));
    let prompt = drawn(|| {
        let error = json!({"error": {"code": "content_filter", "message": "no"}});
        Act::Answer(400, "", error.to_string())
    });
    assert_eq!((prompt.finish, prompt.text.as_str()), (FinishReason::Refused, ""));
    assert_eq!(prompt.reported_tokens, Some(0));
}

#[test]
fn reasoning_is_counted_and_kept_as_a_thought() {
    for key in ["reasoning_content", "reasoning"] {
        let rollout = drawn(move || {
            choosing(json!({
                "message": {"content": "4", key: "Two and two make four."},
                "finish_reason": "stop",
            }))
        });
        let text = "<think>\nTwo and two make four.\n</think>\n\n4";
        assert_eq!((rollout.text.as_str(), rollout.reported_tokens), (text, Some(5)));
    }
}

#[test]
fn a_prompt_over_the_context_window_is_data() {
    let server = Server::start(|_| {
        let error = json!({
            "message": "This model's maximum context length is 512 tokens.",
            "code": "context_length_exceeded",
        });
        Act::Answer(400, "", json!({"error": error}).to_string())
    });
    let endpoint = endpoint(&config(&server));
    let rollout = draw_one(&endpoint);
    assert_eq!(rollout.finish, FinishReason::PromptTooLong);
    assert_eq!((rollout.text.as_str(), rollout.reported_tokens), ("", Some(0)));
    assert_eq!(server.received().len(), 1);
    assert_eq!(endpoint.spent(), preceptor_endpoints::Spent::default());
}

#[test]
fn cut_off_rollouts_say_by_which_limit() {
    let server = Server::start(|_| {
        choosing(json!({"message": {"content": "4"}, "finish_reason": "length"}))
    });
    let finish =
        |context_length| draw_one(&endpoint(&Config { context_length, ..config(&server) })).finish;
    assert_eq!(finish(None), FinishReason::MaxNewTokens);
    assert_eq!(finish(Some(4096)), FinishReason::MaxNewTokens);
    assert_eq!(finish(Some(15)), FinishReason::ContextFull);
}

#[test]
fn log_probabilities_are_kept_where_a_server_gives_them() {
    let server = Server::start(|received| {
        assert_eq!(received.body["logprobs"], true);
        let logprobs = json!({"content": [{"token": "4", "logprob": -0.25}]});
        choosing(json!({
            "message": {"content": "4"}, "finish_reason": "stop", "logprobs": logprobs,
        }))
    });
    let rollout = draw_one(&endpoint(&Config { logprobs: true, ..config(&server) }));
    assert_eq!(rollout.logprobs, [-0.25]);
}

#[test]
fn several_servers_are_called_in_turn_and_a_retry_goes_to_the_next() {
    let broken = Server::start(|_| error(503, "loading"));
    let sound = Server::start(|_| says("4"));
    let config = Config {
        base_urls: vec![broken.url() + "/", sound.url()],
        concurrency: 1,
        ..config(&sound)
    };
    let drawn = endpoint(&config)
        .generate(&[request(0..4)], &Sampling::default(), &mut Heard::default())
        .unwrap();
    assert_eq!(drawn[0].len(), 4);
    assert_eq!((broken.received().len(), sound.received().len()), (4, 4));
}
