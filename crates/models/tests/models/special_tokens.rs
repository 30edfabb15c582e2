//! Start and end tokens: the files that name them, and the tokens that a tokenizer adds.

use std::fs;
use std::path::Path;

use preceptor_models::Model;
use serde_json::{Value, json};

use crate::formats::fixture_as_gguf;
use crate::gguf_builder::Meta;
use crate::support::{change_json, chat_prompt, copied, fixtures, load, refusal, text_prompt};

const BOS: u32 = 315;
const EOT: u32 = 319;
const TEXT: &str = "Q: 2+3?\nA:";

fn text_tokens(model: &Model) -> Vec<u32> {
    model.prompt_tokens(&text_prompt(TEXT)).expect("encodes")
}

fn chat_tokens(model: &Model) -> Vec<u32> {
    model.prompt_tokens(&chat_prompt("2+3?")).expect("renders")
}

fn change_settings(folder: &Path, change: impl FnOnce(&mut Value)) {
    change_json(&folder.join("tokenizer_config.json"), change);
}

fn without_post_processor(folder: &Path) {
    change_json(&folder.join("tokenizer.json"), |file| file["post_processor"] = Value::Null);
}

#[test]
fn names_are_read_from_both_files() {
    let plain = load(&fixtures().join("llama"));
    for (bos, eos) in [
        (json!("<|begin_of_text|>"), json!("<|eot_id|>")),
        (
            json!({"content": "<|begin_of_text|>", "lstrip": false}),
            json!({"content": "<|eot_id|>"}),
        ),
    ] {
        let folder = copied("llama");
        change_settings(folder.path(), |file| {
            let table = file.as_object_mut().expect("a table");
            table.retain(|key, _| !key.ends_with("_token"));
        });
        fs::remove_file(folder.path().join("generation_config.json")).expect("removes");
        change_json(&folder.path().join("config.json"), |file| file["eos_token_id"] = Value::Null);
        assert_eq!(chat_tokens(&load(folder.path()))[0], chat_tokens(&plain)[1], "no start token");
        let unnamed = load(folder.path()).identity().clone();

        let map = folder.path().join("special_tokens_map.json");
        change_json(&map, |file| *file = json!({"bos_token": bos, "eos_token": eos}));
        let model = load(folder.path());
        assert_eq!(chat_tokens(&model), chat_tokens(&plain));
        assert!(model.end_tokens().contains(&EOT));
        assert_ne!(model.identity().tokenizer, unnamed.tokenizer, "it is another model");
    }
}

#[test]
fn names_come_from_the_file_that_transformers_reads() {
    let other = json!({"bos_token": "<|end_of_text|>"});
    let folder = copied("llama");
    let map = folder.path().join("special_tokens_map.json");
    change_json(&map, |file| *file = other.clone());
    assert_eq!(chat_tokens(&load(folder.path()))[0], 316, "an older folder: the map counts");
    change_settings(folder.path(), |file| file["added_tokens_decoder"] = json!({}));
    assert_eq!(chat_tokens(&load(folder.path()))[0], BOS, "a newer folder: the settings count");
    change_settings(folder.path(), |file| file["bos_token"] = Value::Null);
    assert_eq!(chat_tokens(&load(folder.path()))[0], 317, "null says that there is none");
    change_settings(folder.path(), |file| {
        file.as_object_mut().expect("a table").remove("bos_token");
    });
    insta::assert_snapshot!(refusal(folder.path()), @r"
    read key `bos_token` of `models/special_tokens_map.json`: found the token in this file alone, expected it in `tokenizer_config.json` too, as that file has `added_tokens_decoder`
    hint: compare it with the file that the model's authors published
    ");
    change_settings(folder.path(), |file| file["bos_token"] = json!(7));
    assert!(refusal(folder.path()).contains("read key `bos_token`"));
}

#[test]
fn settings_add_or_omit_the_start_token() {
    let plain = text_tokens(&load(&fixtures().join("llama")));
    assert_eq!(plain[0], BOS);
    for (has_processor, adds, expected) in [
        (true, None, &plain[..]),
        (true, Some(true), &plain[..]),
        (true, Some(false), &plain[1..]),
        (false, None, &plain[1..]),
        (false, Some(true), &plain[..]),
        (false, Some(false), &plain[1..]),
    ] {
        let folder = copied("llama");
        if !has_processor {
            without_post_processor(folder.path());
        }
        if let Some(adds) = adds {
            change_settings(folder.path(), |file| file["add_bos_token"] = json!(adds));
        }
        let model = load(folder.path());
        assert_eq!(text_tokens(&model), expected, "{has_processor} {adds:?}");
        let chat = chat_tokens(&model);
        assert_eq!(chat.iter().filter(|token| **token == BOS).count(), 1, "the template writes it");

        let saved = folder.path().join("saved");
        model.save(&saved).expect("writes");
        assert_eq!(text_tokens(&load(&saved)), expected, "an export says the same");
    }
}

#[test]
fn false_omits_a_start_token_that_no_file_names() {
    let folder = copied("llama");
    let plain = text_tokens(&load(folder.path()));
    change_settings(folder.path(), |file| {
        file["add_bos_token"] = json!(false);
        file["bos_token"] = Value::Null;
    });
    assert_eq!(text_tokens(&load(folder.path())), plain[1..]);
}

#[test]
fn settings_that_contradict_the_tokenizer_are_rejected() {
    let folder = copied("llama");
    change_settings(folder.path(), |file| {
        file["add_bos_token"] = json!(true);
        file["bos_token"] = json!("<|end_of_text|>");
    });
    insta::assert_snapshot!(refusal(folder.path()), @r"
    read key `add_bos_token` of `models/tokenizer_config.json`: found true where `tokenizer.json` adds tokens [315], expected the key left out
    hint: compare it with the file that the model's authors published
    ");
    without_post_processor(folder.path());
    assert_eq!(text_tokens(&load(folder.path()))[0], 316);
    change_settings(folder.path(), |file| file["bos_token"] = json!("<unheard of>"));
    assert!(refusal(folder.path()).contains("the vocabulary has no `<unheard of>`"));
    change_settings(folder.path(), |file| file["bos_token"] = Value::Null);
    assert!(refusal(folder.path()).contains("no file names the token"));
    change_settings(folder.path(), |file| file["add_bos_token"] = json!("yes"));
    assert!(refusal(folder.path()).contains("expected true or false"));
}

#[test]
fn a_text_with_an_end_token_is_not_a_prompt() {
    let folder = copied("llama");
    change_settings(folder.path(), |file| file["add_eos_token"] = json!(true));
    let model = load(folder.path());
    assert_eq!(chat_tokens(&model), chat_tokens(&load(&fixtures().join("llama"))));
    let error = model.prompt_tokens(&text_prompt(TEXT)).expect_err("nothing could follow");
    let error = error.to_string().replace(&folder.path().display().to_string(), "models");
    insta::assert_snapshot!(error, @r"
    use `models`: a plain text prompt to which the tokenizer appends `<|eot_id|>` is not supported, only prompts that a model can continue
    hint: set `add_eos_token` to false in `tokenizer_config.json`
    ");
}

#[test]
fn a_named_token_of_the_vocabulary_is_matched_whole() {
    let folder = copied("llama");
    change_json(&folder.path().join("tokenizer.json"), |file| {
        file["post_processor"] = Value::Null;
        let added = file["added_tokens"].as_array_mut().expect("a list");
        added.retain(|token| token["content"] != "<|begin_of_text|>");
        file["model"]["vocab"]["<|begin_of_text|>"] = json!(BOS);
    });
    assert_eq!(chat_tokens(&load(folder.path())), chat_tokens(&load(&fixtures().join("llama"))));
}

#[test]
fn gguf_files_set_the_tokens_around_a_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.gguf");
    let with = |key: &str, value: Meta| {
        let mut gguf = fixture_as_gguf();
        gguf.meta(key, value);
        fs::write(&path, gguf.bytes()).expect("writes");
    };
    with("tokenizer.ggml.add_bos_token", Meta::Bool(false));
    assert_ne!(text_tokens(&load(&path))[0], BOS);
    with("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    assert_eq!(text_tokens(&load(&path))[..1], [BOS]);
    with("tokenizer.ggml.add_bos_token", Meta::U32(1));
    assert!(refusal(&path).contains("expected true or false"));
    with("tokenizer.ggml.add_eos_token", Meta::Bool(true));
    load(&path).prompt_tokens(&text_prompt(TEXT)).expect_err("nothing could follow");
    with("tokenizer.ggml.add_sep_token", Meta::Bool(true));
    assert!(refusal(&path).contains("`tokenizer.ggml.add_sep_token` `true` is not supported"));
}
