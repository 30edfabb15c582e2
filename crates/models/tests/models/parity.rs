//! Compares the small random checkpoints of every family with transformers.

use std::fs;

use burn::tensor::{DType, Tensor};
use preceptor_core::{
    Continuation, Generator, Message, Role, Sampling, ScoreRequest, Scorer, Thinking,
};
use preceptor_models::Gemma3Config;
use preceptor_models::LlamaConfig;
use preceptor_models::Qwen2Config;
use preceptor_models::Qwen3Config;
use preceptor_models::{
    Decoder, Device, HfWeights, JsonFile, KvCache, LayerVectors, Layers, Linear, SegmentAttention,
    Span, Stack, TensorKvCache, to_vec, token_logprob,
};
use serde_json::Value;

use crate::support::{
    EventRecorder, FAMILIES, Session, fixtures, floats, ids, json, load, local, request,
    text_prompt,
};

/// Absolute tolerance on logits up to 8 and log-probabilities: the reference differs by 1e-5 between its
/// own attention implementations, and as much from double precision.
const LOGIT_TOLERANCE: f32 = 1e-4;
/// Absolute tolerance on hidden states up to 12 before the last norm.
const HIDDEN_TOLERANCE: f32 = 1e-4;

fn expected(family: &str) -> Value {
    json(&fixtures().join(family).join("expected.json"))
}

fn config(family: &str, file: &str) -> JsonFile {
    JsonFile::read(&fixtures().join(family).join(file)).expect("a fixture")
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn check_logits(family: &str, logits: &[Vec<f32>]) {
    let expected = expected(family);
    for (position, row) in expected["logits"].as_object().expect("a table") {
        let position: usize = position.parse().expect("a position");
        let difference = largest_difference(&logits[position], &floats(row));
        assert!(difference < LOGIT_TOLERANCE, "{family}, logits at {position}: {difference}");
    }
    let tokens = ids(&expected["input_ids"]);
    for (at, logprob) in floats(&expected["next_token_logprobs"]).iter().enumerate() {
        let difference = (token_logprob(&logits[at], tokens[at + 1]) - logprob).abs();
        assert!(difference < LOGIT_TOLERANCE, "{family}, log-probability at {at}: {difference}");
    }
}

#[test]
fn logits_and_logprobs_agree_with_transformers() {
    for family in FAMILIES {
        let model = load(&fixtures().join(family));
        let tokens = ids(&expected(family)["input_ids"]);
        check_logits(family, &Session::new(model.decoder()).read(&tokens));
    }
}

/// transformers' Mistral gives the numbers of the fixture too (within 5e-6, version 5.23).
#[test]
fn mistral_without_a_window_is_a_llama() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(fixtures().join("llama")).expect("a fixture") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("named"))).expect("copied");
        }
    }
    let path = folder.path().join("config.json");
    let mut config = json(&path);
    config["model_type"] = "mistral".into();
    config["sliding_window"] = Value::Null;
    fs::write(&path, config.to_string()).expect("written");
    let tokens = ids(&expected("llama")["input_ids"]);
    check_logits("llama", &Session::new(load(folder.path()).decoder()).read(&tokens));
}

#[test]
fn both_config_layouts_give_the_same_model() {
    let both = |family| ["config.json", "config.v4.json"].map(|file| config(family, file));
    let [new, old] = both("llama").map(|c| LlamaConfig::from_json(&c).expect("valid"));
    assert_eq!(new, old);
    let [new, old] = both("qwen2").map(|c| Qwen2Config::from_json(&c).expect("valid"));
    assert_eq!(new, old);
    let [new, old] = both("qwen3").map(|c| Qwen3Config::from_json(&c).expect("valid"));
    assert_eq!(new, old);
    let [new, old] = both("gemma3").map(|c| Gemma3Config::from_json(&c).expect("valid"));
    assert_eq!(new, old);
}

fn stack<L: Layers>(
    family: &str,
    read: impl Fn(&JsonFile) -> Result<L, preceptor_models::Error>,
) -> Stack<L> {
    let config = read(&config(family, "config.json")).expect("a valid configuration");
    let weights = HfWeights::open(&fixtures().join(family)).expect("a fixture");
    Stack::load(config, &weights, &Device::cpu()).expect("a whole checkpoint")
}

fn check_hidden_states<L: Layers>(family: &str, stack: &Stack<L>) {
    let expected = expected(family);
    let tokens = ids(&expected["input_ids"]);
    let last = tokens.len() - 1;
    let check = |name: &str, hidden: &Tensor<2>| {
        let wanted = floats(&expected["hidden_last_position"][name]);
        let got = to_vec(hidden.clone().narrow(0, last, 1).narrow(1, 0, wanted.len()));
        let difference = largest_difference(&got, &wanted);
        assert!(difference < HIDDEN_TOLERANCE, "{family}, {name}: {difference}");
    };
    let positions: Vec<u32> = (0..).take(tokens.len()).collect();
    let positions = stack.positions(&positions);
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let mut hidden = stack.embed(&tokens);
    check("embed", &hidden);
    for (number, layer) in stack.layers.iter().enumerate() {
        hidden = stack.config.forward(layer, number, hidden, &positions, &mut attention);
        if number + 1 < stack.layers.len() {
            check(&format!("after_layer_{}", number + 1), &hidden);
        }
    }
    check("final_norm", &stack.config.norm(&hidden, &stack.norm));
}

#[test]
fn hidden_states_agree_after_every_layer() {
    check_hidden_states("llama", &stack("llama", LlamaConfig::from_json));
    check_hidden_states("qwen2", &stack("qwen2", Qwen2Config::from_json));
    check_hidden_states("qwen3", &stack("qwen3", Qwen3Config::from_json));
    check_hidden_states("gemma3", &stack("gemma3", Gemma3Config::from_json));
}

/// Checks the burn operations of other devices: there are no kernels for double precision.
fn check_plain_operations<L: Layers>(family: &str, mut stack: Stack<L>) {
    let plain = |linear: &mut Linear| {
        *linear = Linear::from_tensor(linear.to_tensor().cast(DType::F64));
    };
    let vector = |x: &mut Tensor<1>| *x = x.clone().cast(DType::F64);
    plain(&mut stack.embedding);
    stack.head.iter_mut().for_each(plain);
    for layer in &mut stack.layers {
        let products = &mut layer.products;
        plain(&mut products.qkv);
        plain(&mut products.output);
        plain(&mut products.gate_up);
        plain(&mut products.down);
        layer.vectors.tensors_mut().into_iter().for_each(|(_, weight)| vector(weight));
    }
    vector(&mut stack.norm);
    let vocab_size = stack.config.sizes().vocab_size;
    let tokens = ids(&expected(family)["input_ids"]);
    let positions: Vec<u32> = (0..).take(tokens.len()).collect();
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let hidden = stack.forward(&tokens, &positions, &mut attention);
    let logits = to_vec(stack.logits(&hidden));
    let rows: Vec<Vec<f32>> = logits.chunks(vocab_size).map(<[f32]>::to_vec).collect();
    check_logits(family, &rows);

    // A cache in burn operations reads the prompt in two pieces, the second in a fork.
    let mut cache = TensorKvCache::new();
    let mut sequence = cache.open(None);
    let mut rows = Vec::new();
    for (from, to) in [(0, 20), (20, 21), (21, tokens.len())] {
        cache.begin(&[Span { sequence, len: to - from }]);
        let hidden = stack.forward(&tokens[from..to], &positions[from..to], &mut cache);
        cache.commit();
        let logits = to_vec(stack.logits(&hidden));
        rows.extend(logits.chunks(vocab_size).map(<[f32]>::to_vec));
        sequence = cache.open(Some(sequence));
    }
    check_logits(family, &rows);
}

#[test]
fn plain_burn_operations_agree_too() {
    check_plain_operations("llama", stack("llama", LlamaConfig::from_json));
    check_plain_operations("qwen2", stack("qwen2", Qwen2Config::from_json));
    check_plain_operations("qwen3", stack("qwen3", Qwen3Config::from_json));
    check_plain_operations("gemma3", stack("gemma3", Gemma3Config::from_json));
}

#[test]
fn greedy_tokens_agree() {
    for family in FAMILIES {
        let expected = expected(family);
        let model = local(&fixtures().join(family), 4);
        let sampling = Sampling { temperature: 0.0, max_new_tokens: 16, ..Sampling::default() };
        let prompt = text_prompt(expected["text"].as_str().expect("a text"));
        let mut heard = EventRecorder::default();
        let rollouts = model.generate(&[request(prompt, 1)], &sampling, &mut heard);
        let rollouts = rollouts.expect("generates");
        assert_eq!(rollouts[0][0].token_ids, ids(&expected["greedy_ids"]), "{family}");
    }
}

#[test]
fn tokenizer_and_chat_template_agree() {
    for family in FAMILIES {
        let expected = expected(family);
        let model = load(&fixtures().join(family));
        let text = expected["text"].as_str().expect("a text");
        let tokens = ids(&expected["input_ids"]);
        assert_eq!(model.prompt_tokens(&text_prompt(text)).expect("encodes"), tokens, "{family}");
        let decoded = model.tokenizer().decode(&tokens, false).expect("decodes");
        assert_eq!(decoded, expected["decoded"].as_str().expect("a text"));

        let content = expected["chat"][0]["content"].as_str().expect("a text").to_owned();
        let chat = [Message { role: Role::User, content }];
        let rendered =
            model.template().expect("there is one").render(&chat, Thinking::Off).expect("renders");
        assert_eq!(rendered, expected["chat_text"].as_str().expect("a text"), "{family}");
        let prompt = crate::support::chat_prompt(&chat[0].content);
        let wanted = ids(&expected["chat_ids"]);
        assert_eq!(model.prompt_tokens(&prompt).expect("encodes"), wanted, "{family}");
    }
}

#[test]
fn scorer_gives_the_reference_logprobs() {
    for family in FAMILIES {
        let expected = expected(family);
        let model = local(&fixtures().join(family), 4);
        let tokens = ids(&expected["input_ids"]);
        let whole = model.model().prompt_tokens(&text_prompt("The answer")).expect("encodes");
        assert_eq!(whole, tokens[..whole.len()]);
        let continuation = Continuation::Tokens(tokens[whole.len()..].to_vec());
        let prompt = text_prompt("The answer");
        let scored = model.score(&[ScoreRequest { prompt, continuation }]);
        let logprobs = &scored.expect("scores")[0].logprobs;
        let wanted = floats(&expected["next_token_logprobs"]);
        let difference = largest_difference(logprobs, &wanted[whole.len() - 1..]);
        assert!(difference < LOGIT_TOLERANCE, "{family}: {difference}");
    }
}
