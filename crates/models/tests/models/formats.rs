//! Loads equal weights from every file format.

use std::fs;
use std::path::Path;

use preceptor_models::{GgufFile, HfWeights, Model, WeightSource};
use serde_json::{Value, json};

use crate::gguf_builder::{GgufBuilder, Meta};
use crate::support::{Session, ids, json as read_json, llama_folder, load, text_prompt};

/// Reorders rows of a half-split rotary layout to GGUF's order of pairs, head by head.
fn pair_rows(data: &[f32], inner: usize, head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut out = Vec::new();
    for head in data.chunks(head_dim * inner) {
        for row in 0..head_dim {
            let from = row / 2 + row % 2 * half;
            out.extend_from_slice(&head[from * inner..][..inner]);
        }
    }
    out
}

/// Builds the fixture as a GGUF file, with its tokenizer and template in the metadata.
pub(crate) fn fixture_as_gguf() -> GgufBuilder {
    let folder = llama_folder();
    let config = read_json(&folder.join("config.json"));
    let tokenizer = read_json(&folder.join("tokenizer.json"));
    let weights = HfWeights::open(&folder).expect("a fixture");
    let number = |key: &str| config[key].as_u64().expect("a number");
    let mut gguf = GgufBuilder::default();
    let count = |n: u64| Meta::U32(u32::try_from(n).expect("small"));
    gguf.meta("general.architecture", Meta::Text("llama".to_owned()));
    gguf.meta("llama.block_count", count(number("num_hidden_layers")));
    gguf.meta("llama.context_length", count(number("max_position_embeddings")));
    gguf.meta("llama.embedding_length", count(number("hidden_size")));
    gguf.meta("llama.feed_forward_length", count(number("intermediate_size")));
    gguf.meta("llama.attention.head_count", count(number("num_attention_heads")));
    gguf.meta("llama.attention.head_count_kv", count(number("num_key_value_heads")));
    gguf.meta("llama.attention.key_length", count(number("head_dim")));
    gguf.meta("llama.rope.freq_base", Meta::F32(500_000.0));
    gguf.meta("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5));

    let mut tokens: Vec<(u64, String, i32)> = tokenizer["model"]["vocab"]
        .as_object()
        .expect("a table")
        .iter()
        .map(|(token, id)| (id.as_u64().expect("an id"), token.clone(), 1))
        .collect();
    for added in tokenizer["added_tokens"].as_array().expect("a list") {
        let id = added["id"].as_u64().expect("an id");
        tokens.retain(|(known, _, _)| *known != id);
        tokens.push((id, added["content"].as_str().expect("a text").to_owned(), 3));
    }
    tokens.sort();
    let merges = tokenizer["model"]["merges"].as_array().expect("a list").iter().map(|merge| {
        let part = |i: usize| merge[i].as_str().expect("a text").to_owned();
        merge.as_str().map_or_else(|| format!("{} {}", part(0), part(1)), str::to_owned)
    });
    gguf.meta("tokenizer.ggml.model", Meta::Text("gpt2".to_owned()));
    gguf.meta("tokenizer.ggml.pre", Meta::Text("llama-bpe".to_owned()));
    gguf.meta("tokenizer.ggml.merges", Meta::Texts(merges.collect()));
    gguf.meta("tokenizer.ggml.token_type", Meta::I32s(tokens.iter().map(|t| t.2).collect()));
    gguf.meta("tokenizer.ggml.tokens", Meta::Texts(tokens.into_iter().map(|t| t.1).collect()));
    gguf.meta("tokenizer.ggml.bos_token_id", count(number("bos_token_id")));
    gguf.meta("tokenizer.ggml.eos_token_id", Meta::U32(319));
    let template = fs::read_to_string(folder.join("chat_template.jinja")).expect("a fixture");
    gguf.meta("tokenizer.chat_template", Meta::Text(template));

    // Llama 3.1's scaling is stored as a divisor for each frequency.
    let divisors = (0..16).map(|i| {
        let wave = 2.0 * std::f64::consts::PI * 500_000_f64.powf(2.0 * f64::from(i) / 32.0);
        let blend = ((64.0 / wave - 1.0) / 3.0).clamp(0.0, 1.0);
        (1.0 / ((1.0 - blend) / 8.0 + blend)) as f32
    });
    gguf.tensor("rope_freqs.weight", &[16], &divisors.collect::<Vec<_>>());
    let (d, inner, vocab) = (64, 96, 320);
    for (hf, name) in [("model.embed_tokens", "token_embd"), ("lm_head", "output")] {
        let data = weights.read(&format!("{hf}.weight"), &[vocab, d]).expect("a tensor");
        gguf.tensor(&format!("{name}.weight"), &[vocab, d], &data);
    }
    gguf.tensor(
        "output_norm.weight",
        &[d],
        &weights.read("model.norm.weight", &[d]).expect("a tensor"),
    );
    for layer in 0..4 {
        for (hf, name, shape) in [
            ("self_attn.q_proj", "attn_q", vec![128, d]),
            ("self_attn.k_proj", "attn_k", vec![64, d]),
            ("self_attn.v_proj", "attn_v", vec![64, d]),
            ("self_attn.o_proj", "attn_output", vec![d, 128]),
            ("mlp.gate_proj", "ffn_gate", vec![inner, d]),
            ("mlp.up_proj", "ffn_up", vec![inner, d]),
            ("mlp.down_proj", "ffn_down", vec![d, inner]),
            ("input_layernorm", "attn_norm", vec![d]),
            ("post_attention_layernorm", "ffn_norm", vec![d]),
        ] {
            let hf = format!("model.layers.{layer}.{hf}.weight");
            let data = weights.read(&hf, &shape).expect("a tensor");
            let paired = matches!(name, "attn_q" | "attn_k");
            let data = if paired { pair_rows(&data, d, 32) } else { data };
            gguf.tensor(&format!("blk.{layer}.{name}.weight"), &shape, &data);
        }
    }
    gguf
}

fn fixture_logits(model: &Model) -> Vec<f32> {
    let tokens = ids(&read_json(&llama_folder().join("expected.json"))["input_ids"]);
    Session::new(model.decoder()).read(&tokens).concat()
}

#[test]
fn gguf_gives_the_same_model_as_safetensors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("llama.gguf");
    fs::write(&path, fixture_as_gguf().bytes()).expect("writes");
    let (gguf, hf) = (load(&path), load(&llama_folder()));
    // Only the rotary divisors are rounded.
    let difference = fixture_logits(&gguf)
        .iter()
        .zip(fixture_logits(&hf))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(difference < 1e-4, "{difference}");
    assert_eq!(gguf.spec(), hf.spec());
    assert_eq!(gguf.end_tokens().iter().max(), hf.end_tokens().iter().max());
    assert_eq!(gguf.identity().template, hf.identity().template);
    for text in ["The answer is \\boxed{42}, isn't it?", "x = 1234567\n\n  é", "<|eot_id|>hi"] {
        let prompt = text_prompt(text);
        assert_eq!(
            gguf.prompt_tokens(&prompt).expect("encodes"),
            hf.prompt_tokens(&prompt).expect("encodes"),
            "{text}"
        );
    }
    let names = GgufFile::open(&path).expect("a whole file");
    assert_eq!(names.tensor_names().count(), 4 * 9 + 4);
}

/// Splits the fixture's weights into two safetensors files with an index.
fn sharded(folder: &Path) {
    let source = llama_folder();
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ] {
        fs::copy(source.join(file), folder.join(file)).expect("copies");
    }
    let bytes = fs::read(source.join("model.safetensors")).expect("a fixture");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("a fixture");
    let mut map = serde_json::Map::new();
    for shard in [1, 2] {
        let file = format!("model-0000{shard}-of-00002.safetensors");
        let views: Vec<_> =
            tensors.iter().filter(|(name, _)| name.contains("layers.1.") == (shard == 1)).collect();
        map.extend(views.iter().map(|(name, _)| ((*name).to_owned(), json!(file))));
        safetensors::serialize_to_file(views, None, &folder.join(file)).expect("writes");
    }
    let index: Value = json!({ "metadata": {}, "weight_map": map });
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("writes");
}

#[test]
fn sharded_weights_give_the_same_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    sharded(folder.path());
    assert_eq!(fixture_logits(&load(folder.path())), fixture_logits(&load(&llama_folder())));
}

#[test]
fn version_4_folders_load_as_the_same_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    sharded(folder.path());
    fs::copy(llama_folder().join("config.v4.json"), folder.path().join("config.json"))
        .expect("copies");
    let (v4, v5) = (load(folder.path()), load(&llama_folder()));
    assert_eq!(fixture_logits(&v4), fixture_logits(&v5));
    assert_eq!(v4.decoder().canonical_config(), v5.decoder().canonical_config());
}

#[test]
fn identity_follows_contents_not_paths() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(llama_folder()).expect("a fixture") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copies");
        }
    }
    let original = load(&llama_folder()).identity().clone();
    assert_eq!(*load(folder.path()).identity(), original);
    fs::write(folder.path().join("chat_template.jinja"), "{{ messages[0].content }}")
        .expect("writes");
    let changed = load(folder.path()).identity().clone();
    assert_ne!(changed.template, original.template);
    assert_eq!(changed.weights, original.weights);
}
