//! Agreement with transformers on the small random Llama checkpoint.

use burn::tensor::{DType, Tensor};
use preceptor_core::{Continuation, Generator, Message, Role, Sampling, ScoreRequest, Scorer};
use preceptor_models::llama::{Llama, LlamaConfig};
use preceptor_models::{
    Decoder, Device, HfWeights, JsonFile, KvCache, SegmentAttention, Span, TensorKvCache, ops,
    token_logprob,
};

use crate::support::{
    Heard, Session, floats, ids, json, llama_folder, load, local, request, text_prompt,
};

/// Absolute, on logits up to 8 and log-probabilities: the reference moves by 1e-5 between its own
/// attention implementations and by as much to double precision.
const LOGIT_TOLERANCE: f32 = 1e-4;
/// Absolute, on hidden states up to 12 before the last norm.
const HIDDEN_TOLERANCE: f32 = 1e-4;

fn expected() -> serde_json::Value {
    json(&llama_folder().join("expected.json"))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn check_logits(logits: &[Vec<f32>]) {
    let expected = expected();
    for (position, row) in expected["logits"].as_object().expect("a table") {
        let position: usize = position.parse().expect("a position");
        let difference = largest_difference(&logits[position], &floats(row));
        assert!(difference < LOGIT_TOLERANCE, "logits at {position}: {difference}");
    }
    let tokens = ids(&expected["input_ids"]);
    for (at, logprob) in floats(&expected["next_token_logprobs"]).iter().enumerate() {
        let difference = (token_logprob(&logits[at], tokens[at + 1]) - logprob).abs();
        assert!(difference < LOGIT_TOLERANCE, "log-probability at {at}: {difference}");
    }
}

#[test]
fn logits_and_logprobs_agree_with_transformers() {
    let model = load(&llama_folder());
    check_logits(&Session::new(model.decoder()).read(&ids(&expected()["input_ids"])));
}

#[test]
fn both_config_layouts_give_the_same_model() {
    let folder = llama_folder();
    let read = |file| {
        let config = JsonFile::read(&folder.join(file)).expect("a fixture");
        LlamaConfig::from_json(&config).expect("a valid configuration")
    };
    assert_eq!(read("config.json"), read("config.v4.json"));
}

#[test]
fn hidden_states_agree_after_every_layer() {
    let folder = llama_folder();
    let config = JsonFile::read(&folder.join("config.json")).expect("a fixture");
    let config = LlamaConfig::from_json(&config).expect("a valid configuration");
    let weights = HfWeights::open(&folder).expect("a fixture");
    let llama = Llama::load(config, &weights, &Device::cpu()).expect("a whole checkpoint");
    let expected = expected();
    let tokens = ids(&expected["input_ids"]);
    let last = tokens.len() - 1;
    let check = |name: &str, hidden: &Tensor<2>| {
        let wanted = floats(&expected["hidden_last_position"][name]);
        let got = ops::to_vec(hidden.clone().narrow(0, last, 1).narrow(1, 0, wanted.len()));
        let difference = largest_difference(&got, &wanted);
        assert!(difference < HIDDEN_TOLERANCE, "{name}: {difference}");
    };
    let positions: Vec<u32> = (0..).take(tokens.len()).collect();
    let angles = llama.angles(&positions);
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let mut hidden = llama.embedding.rows(&tokens);
    check("embed", &hidden);
    for (layer, block) in llama.blocks.iter().enumerate() {
        hidden = block.forward(hidden, layer, &llama.config, &angles, &mut attention);
        if layer + 1 < llama.blocks.len() {
            check(&format!("after_layer_{}", layer + 1), &hidden);
        }
    }
    check("final_norm", &ops::rms_norm(&hidden, &llama.norm, llama.config.norm_eps));
}

#[test]
fn plain_burn_operations_agree_too() {
    // There are no kernels for double precision: this is the path of other devices.
    let folder = llama_folder();
    let config = JsonFile::read(&folder.join("config.json")).expect("a fixture");
    let config = LlamaConfig::from_json(&config).expect("a valid configuration");
    let weights = HfWeights::open(&folder).expect("a fixture");
    let mut llama = Llama::load(config, &weights, &Device::cpu()).expect("a whole checkpoint");
    let vector = |x: &Tensor<1>| x.clone().cast(DType::F64);
    let plain =
        |linear: &ops::Linear| ops::Linear::from_tensor(linear.to_tensor().cast(DType::F64));
    llama.embedding = plain(&llama.embedding);
    llama.head = llama.head.as_ref().map(plain);
    for block in &mut llama.blocks {
        block.qkv = plain(&block.qkv);
        block.output = plain(&block.output);
        block.gate_up = plain(&block.gate_up);
        block.down = plain(&block.down);
        block.attention_norm = vector(&block.attention_norm);
        block.feed_forward_norm = vector(&block.feed_forward_norm);
    }
    llama.norm = vector(&llama.norm);
    let tokens = ids(&expected()["input_ids"]);
    let positions: Vec<u32> = (0..).take(tokens.len()).collect();
    let mut attention = SegmentAttention::sequences([tokens.len()]);
    let hidden = llama.forward(&tokens, &positions, &mut attention);
    let logits = ops::to_vec(llama.logits(&hidden));
    let rows: Vec<Vec<f32>> = logits.chunks(llama.config.vocab_size).map(<[f32]>::to_vec).collect();
    check_logits(&rows);

    // The same with a cache in burn operations: the prompt in two pieces, the second in a fork.
    let mut cache = TensorKvCache::new();
    let mut sequence = cache.open(None);
    let mut rows = Vec::new();
    for (from, to) in [(0, 20), (20, 21), (21, tokens.len())] {
        cache.begin(&[Span { sequence, len: to - from }]);
        let hidden = llama.forward(&tokens[from..to], &positions[from..to], &mut cache);
        cache.commit();
        let logits = ops::to_vec(llama.logits(&hidden));
        rows.extend(logits.chunks(llama.config.vocab_size).map(<[f32]>::to_vec));
        sequence = cache.open(Some(sequence));
    }
    check_logits(&rows);
}

#[test]
fn greedy_tokens_agree() {
    let expected = expected();
    let model = local(&llama_folder(), 4);
    let sampling = Sampling { temperature: 0.0, max_new_tokens: 16, ..Sampling::default() };
    let prompt = text_prompt(expected["text"].as_str().expect("a text"));
    let mut heard = Heard::default();
    let rollouts = model.generate(&[request(prompt, 1)], &sampling, &mut heard).expect("generates");
    assert_eq!(rollouts[0][0].token_ids, ids(&expected["greedy_ids"]));
}

#[test]
fn tokenizer_and_chat_template_agree() {
    let expected = expected();
    let model = load(&llama_folder());
    let text = expected["text"].as_str().expect("a text");
    let tokens = ids(&expected["input_ids"]);
    assert_eq!(model.prompt_tokens(&text_prompt(text)).expect("encodes"), tokens);
    let decoded = model.tokenizer().decode(&tokens, false).expect("decodes");
    assert_eq!(decoded, expected["decoded"].as_str().expect("a text"));

    let content = expected["chat"][0]["content"].as_str().expect("a text").to_owned();
    let chat = [Message { role: Role::User, content }];
    let rendered = model.template().expect("there is one").render(&chat).expect("renders");
    assert_eq!(rendered, expected["chat_text"].as_str().expect("a text"));
    let prompt = crate::support::chat_prompt(&chat[0].content);
    assert_eq!(model.prompt_tokens(&prompt).expect("encodes"), ids(&expected["chat_ids"]));
}

#[test]
fn scorer_gives_the_reference_logprobs() {
    let expected = expected();
    let model = local(&llama_folder(), 4);
    let tokens = ids(&expected["input_ids"]);
    let text = expected["text"].as_str().expect("a text");
    let whole = model.model().prompt_tokens(&text_prompt("The answer")).expect("encodes");
    assert_eq!(whole, tokens[..whole.len()]);
    let continuation = Continuation::Tokens(tokens[whole.len()..].to_vec());
    let scored = model.score(&[ScoreRequest { prompt: text_prompt("The answer"), continuation }]);
    let logprobs = &scored.expect("scores")[0].logprobs;
    let wanted = floats(&expected["next_token_logprobs"]);
    let difference = largest_difference(logprobs, &wanted[whole.len() - 1..]);
    assert!(difference < LOGIT_TOLERANCE, "{text}: {difference}");
}
