//! Agreement with transformers on SmolLM2-135M, where its file has been fetched.

use preceptor_core::{Continuation, Generator, Sampling, ScoreRequest, Scorer};
use preceptor_models::{GgufFile, token_logprob};

use crate::support::{
    Heard, Session, chat_prompt, fixtures, floats, ids, json, local, request, smollm2,
};

/// Absolute, on logits up to 35 after 30 layers.
const LOGIT_TOLERANCE: f32 = 1e-3;

#[test]
fn smollm2_agrees_with_transformers() {
    let Some(path) = smollm2() else { return };
    let expected = json(&fixtures().join("real-smollm2.json"));
    let model = local(&path, 8);
    for case in expected["tokenizer_cases"].as_array().expect("a list") {
        let text = case["text"].as_str().expect("a text");
        let tokens = model.model().tokenizer().encode(text, false).expect("encodes");
        assert_eq!(tokens, ids(&case["ids_transformers_gguf"]), "{text}");
    }
    let content = expected["chat"][0]["content"].as_str().expect("a text");
    let prompt = chat_prompt(content);
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

    // The reference goes on after the end token; a rollout stops there, and both agree up to it.
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 24, ..Sampling::default() };
    let rollouts =
        model.generate(&[request(prompt, 1)], &sampling, &mut Heard::default()).expect("generates");
    let got = &rollouts[0][0].token_ids;
    assert_eq!(*got, ids(&expected["greedy_ids"])[..got.len()]);
    assert_eq!(rollouts[0][0].text, "2 + 3 = 5");
}

#[test]
fn smollm2_weights_are_dequantised_as_transformers_does() {
    use preceptor_models::WeightSource;

    let Some(path) = smollm2() else { return };
    let expected = json(&fixtures().join("real-smollm2.json"));
    let file = GgufFile::open(&path).expect("a whole file");
    // Tensors whose rows are in the same order in both formats.
    for (name, gguf) in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("model.layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ] {
        let print = &expected["weight_fingerprints"][name];
        let shape: Vec<usize> = ids(&print["shape"]).iter().map(|n| *n as usize).collect();
        let data = file.read(gguf, &shape).expect("a tensor");
        let sum: f64 = data.iter().map(|x| f64::from(*x)).sum();
        let abs_sum: f64 = data.iter().map(|x| f64::from(x.abs())).sum();
        let close =
            |a: f64, b: &serde_json::Value| (a - b.as_f64().expect("a number")).abs() < 1e-2;
        assert!(close(sum, &print["sum"]), "{name}: {sum}");
        assert!(close(abs_sum, &print["abs_sum"]), "{name}: {abs_sum}");
        for (got, wanted) in data.iter().zip(floats(&print["first4"])) {
            assert!((got - wanted).abs() < 1e-6, "{name}");
        }
    }
}
