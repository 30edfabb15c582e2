//! Compares SmolLM2 135M, Gemma 3 270M and Qwen 2.5 Coder 0.5B with transformers, if their files have been
//! fetched.

use std::path::Path;

use preceptor_core::{Continuation, Generator, Prompt, Sampling, ScoreRequest, Scorer};
use preceptor_models::{GgufFile, token_logprob};
use serde_json::Value;

use crate::support::{
    EventRecorder, Session, chat_prompt, fetched, fixtures, floats, ids, json, local, request,
    text_prompt,
};

/// Absolute tolerance on logits up to 35 after 30 layers (SmolLM2) and up to 20 after 18 (Gemma).
const LOGIT_TOLERANCE: f32 = 1e-3;

#[test]
fn smollm2_agrees_with_transformers() {
    let Some(path) = fetched("smollm2-135m") else { return };
    let expected = json(&fixtures().join("real-smollm2.json"));
    let content = expected["chat"][0]["content"].as_str().expect("a text");
    let answer = check_model(&path, &expected, chat_prompt(content));
    assert_eq!(answer, "2 + 3 = 5");
}

#[test]
fn gemma3_agrees_with_transformers() {
    let Some(path) = fetched("gemma3-270m") else { return };
    let expected = json(&fixtures().join("real-gemma3.json"));
    let text = expected["prompt_text"].as_str().expect("a text");
    let answer = check_model(&path, &expected, text_prompt(text));
    assert_eq!(answer, expected["greedy_text"].as_str().expect("a text"));
}

#[test]
fn qwen2_agrees_with_transformers() {
    let Some(path) = fetched("qwen2.5-coder-0.5b") else { return };
    let expected = json(&fixtures().join("real-qwen2.json"));
    let content = expected["chat"][0]["content"].as_str().expect("a text");
    check_model(&path, &expected, chat_prompt(content));
}

/// Compares tokens, log-probabilities and logits, and returns the greedy answer.
fn check_model(path: &Path, expected: &Value, prompt: Prompt) -> String {
    let model = local(path, 8);
    for case in expected["tokenizer_cases"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a text");
        let tokens = model.model().tokenizer().encode(text, false).expect("encodes");
        assert_eq!(tokens, ids(&case["ids_transformers_gguf"]), "{text}");
    }
    let prompt_ids = model.model().prompt_tokens(&prompt).expect("encodes");
    assert_eq!(prompt_ids, ids(&expected["prompt_ids"]));

    let continuation = expected["continuation_text"].as_str().expect("a text").to_owned();
    let request_text =
        ScoreRequest { prompt: prompt.clone(), continuation: Continuation::Text(continuation) };
    let scores = &model.score(&[request_text]).expect("scores")[0];
    assert_eq!(scores.token_ids, ids(&expected["continuation_ids"]));
    for (got, wanted) in scores.logprobs.iter().zip(floats(&expected["continuation_logprobs"])) {
        assert!((got - wanted).abs() < LOGIT_TOLERANCE, "{got} {wanted}");
    }

    let all = [prompt_ids, scores.token_ids.clone()].concat();
    let logits = Session::new(model.model().decoder()).read(&all);
    for position in expected["positions"].as_array().expect("a list") {
        let at = position["pos"].as_u64().expect("a position") as usize;
        let tokens = ids(&position["top5_ids"]);
        for (token, wanted) in tokens.iter().zip(floats(&position["top5_logits"])) {
            let got = logits[at][*token as usize];
            assert!((got - wanted).abs() < LOGIT_TOLERANCE, "at {at}: {got} {wanted}");
        }
        let logsumexp = position["logsumexp"].as_f64().expect("a number") as f32;
        let got = logits[at][0] - token_logprob(&logits[at], 0);
        assert!((got - logsumexp).abs() < LOGIT_TOLERANCE, "at {at}: {got} {logsumexp}");
    }

    // The reference continues after the end token; a rollout stops there, and both agree up to it.
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 24, ..Sampling::default() };
    let rollouts = model
        .generate(&[request(prompt, 1)], &sampling, &mut EventRecorder::default())
        .expect("generates");
    let got = &rollouts[0][0].token_ids;
    assert_eq!(*got, ids(&expected["greedy_ids"])[..got.len()]);
    rollouts[0][0].text.clone()
}

/// Names in both formats of tensors whose rows are in the same order.
#[test]
fn weights_are_dequantised_as_transformers_does() {
    let smollm2 = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ];
    check_weights("smollm2-135m", "real-smollm2.json", &smollm2);
    let gemma3 = [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight"),
    ];
    check_weights("gemma3-270m", "real-gemma3.json", &gemma3);
    let bias = ("model.layers.0.self_attn.v_proj.bias", "blk.0.attn_v.bias");
    let qwen2 = [smollm2.as_slice(), &[bias]].concat();
    check_weights("qwen2.5-coder-0.5b", "real-qwen2.json", &qwen2);
}

fn check_weights(model: &str, fixture: &str, tensors: &[(&str, &str)]) {
    use preceptor_models::WeightSource;

    let Some(path) = fetched(model) else { return };
    let expected = json(&fixtures().join(fixture));
    let file = GgufFile::open(&path).expect("a whole file");
    for (name, gguf) in tensors {
        let print = &expected["weight_fingerprints"][name];
        let shape: Vec<usize> = ids(&print["shape"]).iter().map(|n| *n as usize).collect();
        let data = file.read(gguf, &shape).expect("a tensor");
        let sum: f64 = data.iter().map(|x| f64::from(*x)).sum();
        let abs_sum: f64 = data.iter().map(|x| f64::from(x.abs())).sum();
        // The file has sums of up to 170 million values, to four decimal places.
        let close = |a: f64, b: &Value| {
            let b = b.as_f64().expect("a number");
            (a - b).abs() < 1e-2_f64.max(1e-8 * abs_sum)
        };
        assert!(close(sum, &print["sum"]), "{name}: {sum}");
        assert!(close(abs_sum, &print["abs_sum"]), "{name}: {abs_sum}");
        for (got, wanted) in data.iter().zip(floats(&print["first4"])) {
            assert!((got - wanted).abs() < 1e-6, "{name}");
        }
    }
}
