//! The tokenizer in a GGUF file's metadata, as the text of a `tokenizer.json`.
//!
//! Byte-level BPE (`tokenizer.ggml.model = "gpt2"`) only. How text is split before merging is not
//! in the file, only a name for it (`tokenizer.ggml.pre`); [`SPLITS`] lists the names we know.

use serde_json::{Value, json};

use super::reader::{GgufFile, GgufValue};
use crate::Error;

/// How a named pre-tokenizer splits text.
struct Split {
    names: &'static [&'static str],
    /// Regular expression; empty for GPT-2's, which `ByteLevel` brings along.
    pattern: &'static str,
    single_digits: bool,
    nfc: bool,
    /// Whole words that are tokens are taken before merges.
    ignore_merges: bool,
    /// Whether a start token is added where the file doesn't say.
    adds_bos: bool,
}

/// The pre-tokenizers we know, as llama.cpp names them.
const SPLITS: [Split; 4] = [
    Split {
        names: &["gpt-2", "default"],
        pattern: "",
        single_digits: false,
        nfc: false,
        ignore_merges: false,
        adds_bos: false,
    },
    Split {
        names: &["smollm"],
        pattern: "",
        single_digits: true,
        nfc: false,
        ignore_merges: false,
        adds_bos: false,
    },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3"],
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        single_digits: false,
        nfc: false,
        ignore_merges: true,
        adds_bos: true,
    },
    Split {
        names: &["qwen2"],
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        single_digits: false,
        nfc: true,
        ignore_merges: false,
        adds_bos: false,
    },
];

/// Token kinds of `tokenizer.ggml.token_type` that are matched whole in text.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer as the text of a `tokenizer.json`.
pub(crate) fn read_tokenizer(file: &GgufFile) -> Result<String, Error> {
    let unsupported = |what: &str, found: &str, allowed: String| Error::Unsupported {
        path: file.path().to_owned(),
        what: what.to_owned(),
        found: found.to_owned(),
        allowed,
        hint: "load the model from a Hugging Face folder with its own `tokenizer.json`",
    };
    let missing = |key: &str, expected: &str| file.config_error(key, "nothing", expected);
    let model = file
        .text("tokenizer.ggml.model")?
        .ok_or_else(|| missing("tokenizer.ggml.model", "`gpt2`"))?;
    if model != "gpt2" {
        return Err(unsupported("the tokenizer", model, "`gpt2` (byte-level BPE)".to_owned()));
    }
    let pre = file.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let split = SPLITS.iter().find(|split| split.names.contains(&pre)).ok_or_else(|| {
        let names: Vec<_> = SPLITS.iter().flat_map(|s| s.names).map(|n| format!("`{n}`")).collect();
        unsupported("the pre-tokenizer", pre, names.join(", "))
    })?;
    let texts = |key: &str| -> Result<Vec<&str>, Error> {
        let items = file.list(key)?.ok_or_else(|| missing(key, "a list of texts"))?;
        let mut texts = Vec::new();
        for item in items {
            match item {
                GgufValue::Text(text) => texts.push(text.as_str()),
                _ => return Err(file.config_error(key, "another value in the list", "texts only")),
            }
        }
        Ok(texts)
    };
    let tokens = texts("tokenizer.ggml.tokens")?;
    let mut merges = Vec::new();
    for merge in texts("tokenizer.ggml.merges")? {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            file.config_error("tokenizer.ggml.merges", &format!("`{merge}`"), "two parts each")
        })?;
        merges.push(json!([left, right]));
    }
    let kinds = file.list("tokenizer.ggml.token_type")?.unwrap_or(&[]);
    let kind = |id: usize| match kinds.get(id) {
        Some(GgufValue::Signed(kind)) => *kind,
        Some(GgufValue::Unsigned(kind)) => kind.cast_signed(),
        _ => 1,
    };
    let added: Vec<Value> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| matches!(kind(*id), CONTROL | USER_DEFINED))
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": kind(id) == CONTROL,
            })
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();

    let mut splits = Vec::new();
    if split.single_digits {
        splits.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    if !split.pattern.is_empty() {
        splits.push(json!({
            "type": "Split", "pattern": { "Regex": split.pattern },
            "behavior": "Isolated", "invert": false,
        }));
    }
    splits.push(json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": split.pattern.is_empty(),
    }));
    let adds_bos = match file.value("tokenizer.ggml.add_bos_token") {
        Some(GgufValue::Bool(adds)) => *adds,
        _ => split.adds_bos,
    };
    let bos = file.integer("tokenizer.ggml.bos_token_id")?.filter(|_| adds_bos);
    let processor = match bos.and_then(|id| tokens.get(id).map(|token| (id, *token))) {
        Some((id, token)) => json!({
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": token, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [
                { "SpecialToken": { "id": token, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 0 } },
            ],
            "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
        }),
        None => Value::Null,
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": split.nfc.then(|| json!({ "type": "NFC" })),
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": splits },
        "post_processor": processor,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignore_merges, "vocab": vocab, "merges": merges,
        },
    });
    Ok(tokenizer.to_string())
}
