//! Messages for models that can't be loaded.

use std::error::Error as _;
use std::fs;
use std::path::Path;

use preceptor_core::{
    Continuation, Generator, Message, PortError, Prompt, PromptBody, PromptId, Role, Sampling,
    ScoreRequest, Scorer,
};
use preceptor_models::{Device, Error, GgufFile, Model};
use proptest::prelude::*;

use crate::formats::fixture_as_gguf;
use crate::gguf_builder::{GgufBuilder, Meta};
use crate::support::{EventRecorder, llama_folder, local, request, text_prompt};

/// Returns the message without the temporary folder's name.
fn message(error: &Error, folder: &Path) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!("\ncaused by: {error}"));
        source = error.source();
    }
    text.replace(&folder.display().to_string(), "models")
}

fn gguf_message(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.gguf");
    fs::write(&path, bytes).expect("writes");
    message(&Model::load(&path, &Device::cpu()).expect_err("rejected"), folder.path())
}

fn changed_gguf(change: impl FnOnce(&mut GgufBuilder)) -> String {
    let mut gguf = fixture_as_gguf();
    change(&mut gguf);
    gguf_message(&gguf.bytes())
}

/// Copies the fixture's folder with one change.
fn changed_folder(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(llama_folder()).expect("a fixture") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copies");
        }
    }
    change(folder.path());
    message(&Model::load(folder.path(), &Device::cpu()).expect_err("rejected"), folder.path())
}

fn change_config(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let config = fs::read_to_string(&path).expect("reads");
    assert!(config.contains(from));
    fs::write(path, config.replace(from, to)).expect("writes");
}

#[test]
fn messages_for_gguf_files() {
    let whole = fixture_as_gguf().bytes();
    insta::assert_snapshot!(gguf_message(b"GGML"), @r###"
    parse `models/m.gguf`: found no `GGUF` at the start, expected a GGUF file
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    insta::assert_snapshot!(gguf_message(b"GGUF\x01\0\0\0"), @r###"
    parse `models/m.gguf`: found version 1, expected 2 or 3
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    insta::assert_snapshot!(gguf_message(&whole[..200]), @r###"
    parse `models/m.gguf`: the number of tensors at byte 8 is 40, but only 184 bytes follow
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    insta::assert_snapshot!(gguf_message(&whole[..whole.len() - 64]), @r###"
    parse `models/m.gguf`: tensor `blk.3.ffn_norm.weight` needs 256 bytes from byte 862656 on, but the file ends at 862848
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.tensors.retain(|t| t.name != "blk.2.attn_v.weight")), @r###"
    load tensor `blk.2.attn_v.weight` of `models/m.gguf`: not found among 39 tensors
    hint: the configuration may belong to other weights
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.meta("llama.feed_forward_length", Meta::U32(128))), @r###"
    load tensor `blk.0.ffn_gate.weight` of `models/m.gguf`: found shape [96, 64], expected [128, 64]
    hint: the configuration may belong to other weights
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.tensors[1].number_type = 10), @r###"
    use `models/m.gguf`: tensor `token_embd.weight` of type `Q2_K` is not supported, only F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K
    hint: convert the file to one of these types
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.meta("general.architecture", Meta::Text("mamba".to_owned()))), @r"
    use `models/m.gguf`: the architecture `mamba` is not supported, only `llama`, `qwen2`, `qwen3`, `gemma3`
    hint: a family is one file in the models crate; other models can be asked through an endpoint
    ");
    insta::assert_snapshot!(changed_gguf(|g| g.metadata.retain(|(key, _)| key != "llama.block_count")), @r###"
    read key `llama.block_count` of `models/m.gguf`: found nothing, expected a whole number above 0
    hint: compare it with the file that the model's authors published
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.meta("llama.block_count", Meta::Text("four".to_owned()))), @r###"
    read key `llama.block_count` of `models/m.gguf`: found a text, expected a whole number
    hint: compare it with the file that the model's authors published
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.meta("tokenizer.ggml.pre", Meta::Text("tekken".to_owned()))), @r###"
    use `models/m.gguf`: the pre-tokenizer `tekken` is not supported, only `gpt-2`, `default`, `smollm`, `llama-bpe`, `llama3`, `llama-v3`, `qwen2`
    hint: load the model from a Hugging Face folder with its own `tokenizer.json`
    "###);
    insta::assert_snapshot!(changed_gguf(|g| g.meta("tokenizer.ggml.model", Meta::Text("bert".to_owned()))), @r###"
    use `models/m.gguf`: the tokenizer `bert` is not supported, only `gpt2` (byte-level BPE) or `llama` (SentencePiece's BPE)
    hint: load the model from a Hugging Face folder with its own `tokenizer.json`
    "###);
}

#[test]
fn messages_for_folders() {
    let remove =
        |file: &'static str| changed_folder(|f| fs::remove_file(f.join(file)).expect("removes"));
    insta::assert_snapshot!(remove("config.json"), @r###"
    find `config.json` in `models`
    hint: every Hugging Face model has one
    "###);
    insta::assert_snapshot!(remove("model.safetensors"), @r###"
    find `model.safetensors` or `model.safetensors.index.json` in `models`
    hint: only safetensors and GGUF weights can be read
    "###);
    insta::assert_snapshot!(remove("tokenizer.json"), @r###"
    find `tokenizer.json` in `models`
    hint: slow tokenizers can't be read; save it with a fast one
    "###);
    insta::assert_snapshot!(changed_folder(|f| {
        let bytes = fs::read(f.join("model.safetensors")).expect("reads");
        fs::write(f.join("model.safetensors"), &bytes[..bytes.len() / 2]).expect("writes");
    }), @r###"
    parse `models/model.safetensors`: it is not a whole safetensors file of 215584 bytes: incomplete metadata, file not fully covered
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"intermediate_size\": 96", "\"intermediate_size\": 128")), @r###"
    load tensor `model.layers.0.mlp.gate_proj.weight` of `models/model.safetensors`: found shape [96, 64], expected [128, 64]
    hint: the configuration may belong to other weights
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5")), @r###"
    load tensor `model.layers.4.self_attn.q_proj.weight` of `models`: not found among 39 tensors
    hint: the configuration may belong to other weights
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"hidden_size\": 64", "\"hidden_size\": \"big\"")), @r###"
    read key `hidden_size` of `models/config.json`: found "big", expected a whole number
    hint: compare it with the file that the model's authors published
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3")), @r###"
    read key `num_key_value_heads` of `models/config.json`: found 3 for 4 heads, expected a divisor of the number of heads
    hint: compare it with the file that the model's authors published
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"model_type\": \"llama\"", "\"model_type\": \"mamba\"")), @r"
    use `models/config.json`: the architecture `mamba` is not supported, only `llama`, `qwen2`, `qwen3`, `gemma3`
    hint: a family is one file in the models crate; other models can be asked through an endpoint
    ");
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"model_type\": \"llama\"", "\"model_type\": \"mistral\"")), @r"
    use `models/config.json`: the attention `sliding_window` is not supported, only attention to all previous tokens
    hint: this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral
    ");
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"")), @r###"
    use `models/config.json`: the rope type `yarn` is not supported, only `default`, `linear` and `llama3`
    hint: this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral
    "###);
    insta::assert_snapshot!(changed_folder(|f| change_config(f, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"")), @r###"
    use `models/config.json`: the activation `relu` is not supported, only `silu`
    hint: this family implements the layers of Llama 2, Llama 3, SmolLM2 and Mistral
    "###);
    insta::assert_snapshot!(changed_folder(|f| fs::write(f.join("config.json"), "{").expect("writes")), @r###"
    parse `models/config.json`: it is not valid JSON: EOF while parsing an object at line 1 column 1
    hint: the file may be incomplete; fetch it again and compare its digest
    "###);
    let missing = Model::load(Path::new("models/nothing"), &Device::cpu()).expect_err("rejected");
    insta::assert_snapshot!(missing, @r###"
    find `nothing` in `models`
    hint: a model is a Hugging Face folder or a file that ends in `.gguf`
    "###);
}

#[test]
fn messages_for_devices() {
    let refused = |name| Device::parse(name).expect_err("rejected").to_string();
    for name in ["gpu", "wgpu", "cuda:", "cuda:first", "wgpu:-1", "cpu:0", "cuda:bf16", "cpu:f8"] {
        let message = refused(name);
        assert_eq!(
            message,
            format!(
                "use device `{name}`: expected `cpu`, `wgpu:N` or `cuda:N`\n\
                 hint: N is the number of the device, from 0; `:f16` or `:bf16` may follow"
            )
        );
    }
    let refused = |names| Device::parse_all(names).expect_err("rejected").to_string();
    insta::assert_snapshot!(refused("cpu,cpu:bf16"), @r###"
    use device `cpu:bf16`: expected one of the kind and format of `cpu`
    hint: devices that share a model's work must compute alike
    "###);
    insta::assert_snapshot!(refused("cpu,"), @r###"
    use device ``: expected `cpu`, `wgpu:N` or `cuda:N`
    hint: N is the number of the device, from 0; `:f16` or `:bf16` may follow
    "###);
    assert_eq!(Device::parse("cpu:bf16").expect("slow, but there").to_string(), "cpu:bf16");
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
#[test]
fn messages_for_devices_that_are_not_compiled_in() {
    let refused = |name| Device::parse(name).expect_err("rejected").to_string();
    insta::assert_snapshot!(refused("cuda:0"), @r###"
    use device `cuda:0`: expected `cpu`
    hint: this build was made without the cargo feature `cuda`; build with `--features cuda`
    "###);
    insta::assert_snapshot!(refused("wgpu:1"), @r###"
    use device `wgpu:1`: expected `cpu`
    hint: this build was made without the cargo feature `wgpu`; build with `--features wgpu`
    "###);
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
#[test]
fn messages_for_missing_devices() {
    for (name, compiled_in) in
        [("wgpu:4096", cfg!(feature = "wgpu")), ("cuda:4096", cfg!(feature = "cuda"))]
    {
        let message = Device::parse(name).expect_err("nobody has so many").to_string();
        let start = format!("use device `{name}`: expected `");
        assert!(message.starts_with(&start), "{message}");
        let hint = if compiled_in { "lists the" } else { "--features" };
        assert!(message.contains("\nhint: ") && message.contains(hint), "{message}");
    }
}

#[test]
fn messages_for_requests() {
    let model = local(&llama_folder(), 2);
    let long = ScoreRequest {
        prompt: text_prompt("short"),
        continuation: Continuation::Text("x".repeat(600)),
    };
    let short = ScoreRequest {
        prompt: text_prompt("short"),
        continuation: Continuation::Text("x".to_owned()),
    };
    let scores = model.score(&[long, short]).expect("too long is data");
    assert_eq!((scores[0].token_ids.len(), scores[0].logprobs.len()), (600, 0));
    assert_eq!(scores[1].logprobs.len(), 1);
    let hot = Sampling { temperature: -1.0, ..Sampling::default() };
    let refused =
        model.generate(&[request(text_prompt("a"), 1)], &hot, &mut EventRecorder::default());
    insta::assert_snapshot!(refused.expect_err("rejected"), @"use the local model: sample with `temperature` = -1, expected a number from 0 up");
    let unknown = ScoreRequest {
        prompt: text_prompt("short"),
        continuation: Continuation::Tokens(vec![999]),
    };
    let refused = model.score(&[unknown]).expect_err("rejected");
    assert!(matches!(refused, PortError::Failed { .. }));
    insta::assert_snapshot!(refused.source().expect("a cause"), @"read token 999: found an id outside of the vocabulary, expected an id below 320");
}

#[test]
fn a_chat_without_a_template_is_rejected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.gguf");
    let mut gguf = fixture_as_gguf();
    gguf.metadata.retain(|(key, _)| key != "tokenizer.chat_template");
    fs::write(&path, gguf.bytes()).expect("writes");
    let model = Model::load(&path, &Device::cpu()).expect("loads");
    let message_ = Message { role: Role::User, content: "hi".to_owned() };
    let prompt = Prompt::new(PromptId::new("p"), PromptBody::Chat(vec![message_]));
    let refused = model.prompt_tokens(&prompt).expect_err("rejected");
    insta::assert_snapshot!(message(&refused, folder.path()), @r###"
    render a chat: `models/m.gguf` has no chat template
    hint: use plain text prompts with this model
    "###);
}

proptest! {
    /// A damaged header is rejected without a panic and without a large allocation.
    #[test]
    fn damaged_gguf_headers_are_refused_calmly(at in 4_usize..12_000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = fixture_as_gguf().bytes();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("m.gguf");
        fs::write(&path, &bytes).expect("writes");
        let _ = GgufFile::open(&path);
    }
}

#[test]
fn huge_counts_allocate_nothing() {
    for field in 0..2 {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((if field == 0 { u64::MAX } else { 0 }).to_le_bytes());
        bytes.extend((u64::MAX / 2).to_le_bytes());
        let text = gguf_message(&bytes);
        assert!(text.contains("but only") || text.contains("more than any file"), "{text}");
    }
}
