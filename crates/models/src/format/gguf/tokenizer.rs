//! Conversion of the tokenizer in a GGUF file's metadata to a `tokenizer.json`.
//!
//! **Byte-level BPE** (`tokenizer.ggml.model = "gpt2"`): the file has only a name for the way that text is
//! split before merging (`tokenizer.ggml.pre`); [`SPLITS`] lists the supported names.
//!
//! **SentencePiece's BPE** (`"llama"`): the file has no merges, only scores of pieces. Two pieces merge if
//! the result is a piece, those with higher scores first; a space is written `▁`, and other text falls back
//! to bytes.

#[expect(clippy::disallowed_types, reason = "looked up, never iterated")]
use std::collections::HashMap;

use serde_json::{Value, json};

use super::reader::{GgufFile, GgufValue};
use crate::Error;

/// The rules by which a named pre-tokenizer splits text.
struct Split {
    names: &'static [&'static str],
    /// Regular expression; empty for GPT-2's, which is built into `ByteLevel`.
    pattern: &'static str,
    single_digits: bool,
    nfc: bool,
    /// Whole words that are tokens are taken before merges.
    ignore_merges: bool,
    /// True if a start token is added by default.
    adds_bos: bool,
}

/// The supported pre-tokenizers, as llama.cpp names them.
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

/// SentencePiece's spelling of a space.
const SPACE: &str = "▁";

/// Token kinds of `tokenizer.ggml.token_type` that are matched whole in text.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Converts the tokenizer to a `tokenizer.json`.
pub(crate) fn read_tokenizer(file: &GgufFile) -> Result<String, Error> {
    check_settings(file)?;
    let vocabulary = Vocabulary::read(file)?;
    let key = "tokenizer.ggml.model";
    let parts = match file.text(key)? {
        Some("gpt2") => byte_level(file, &vocabulary)?,
        Some("llama") => sentence_piece(file, &vocabulary)?,
        Some(other) => {
            let allowed = "`gpt2` (byte-level BPE) or `llama` (SentencePiece's BPE)";
            return Err(unsupported(file, "the tokenizer", other, allowed.to_owned()));
        }
        None => return Err(file.config_error(key, "nothing", "`gpt2` or `llama`")),
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": vocabulary.added(parts.is_normalized),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": parts.post_processor,
        "decoder": parts.decoder,
        "model": parts.model,
    });
    Ok(tokenizer.to_string())
}

/// The settings that differ between the kinds of tokenizers.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
    /// True if tokens that are matched whole are matched in normalised text.
    is_normalized: bool,
}

fn unsupported(file: &GgufFile, what: &str, found: &str, allowed: String) -> Error {
    Error::Unsupported {
        path: file.path().to_owned(),
        what: what.to_owned(),
        found: found.to_owned(),
        allowed,
        hint: "load the model from a Hugging Face folder with its own `tokenizer.json`",
    }
}

fn texts<'a>(file: &'a GgufFile, key: &str) -> Result<Vec<&'a str>, Error> {
    let expected = || file.config_error(key, "nothing", "a list of texts");
    let items = file.list(key)?.ok_or_else(expected)?;
    let mut texts = Vec::new();
    for item in items {
        match item {
            GgufValue::Text(text) => texts.push(text.as_str()),
            _ => return Err(file.config_error(key, "another value in the list", "texts only")),
        }
    }
    Ok(texts)
}

/// The tokens and their kinds.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: &'a [GgufValue],
}

impl<'a> Vocabulary<'a> {
    fn read(file: &'a GgufFile) -> Result<Self, Error> {
        let kinds = file.list("tokenizer.ggml.token_type")?.unwrap_or(&[]);
        Ok(Self { tokens: texts(file, "tokenizer.ggml.tokens")?, kinds })
    }

    fn kind(&self, id: usize) -> i64 {
        match self.kinds.get(id) {
            Some(GgufValue::Signed(kind)) => *kind,
            Some(GgufValue::Unsigned(kind)) => kind.cast_signed(),
            _ => 1,
        }
    }

    /// Tokens that are matched whole in text.
    fn added(&self, is_normalized: bool) -> Vec<Value> {
        let is_added = |id: &usize| matches!(self.kind(*id), CONTROL | USER_DEFINED);
        let added = |id: usize| {
            let is_control = self.kind(id) == CONTROL;
            json!({
                "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": is_normalized && !is_control, "special": is_control,
            })
        };
        (0..self.tokens.len()).filter(is_added).map(added).collect()
    }

    fn ids(&self) -> serde_json::Map<String, Value> {
        let tokens = self.tokens.iter().enumerate();
        tokens.map(|(id, token)| ((*token).to_owned(), json!(id))).collect()
    }

    /// Builds the part that adds start and end tokens around a text, as the file says, or else `default`.
    fn build_around(&self, file: &GgufFile, default: bool) -> Result<Value, Error> {
        let token = |name: &str, default: bool| {
            let adds = file.boolean(&format!("tokenizer.ggml.add_{name}_token"))?;
            let key = format!("tokenizer.ggml.{name}_token_id");
            let id = file.integer(&key)?.filter(|_| adds.unwrap_or(default));
            let found = id.and_then(|id| Some((id, *self.tokens.get(id)?)));
            if adds == Some(true) && found.is_none() {
                return Err(file.config_error(&key, "nothing", "the token that is to be added"));
            }
            Ok(found)
        };
        let (bos, eos) = (token("bos", default)?, token("eos", false)?);
        if bos.is_none() && eos.is_none() {
            return Ok(Value::Null);
        }
        let special = |found: Option<(usize, &str)>| {
            found.map(|(_, token)| json!({ "SpecialToken": { "id": token, "type_id": 0 } }))
        };
        let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let around = |texts: Vec<Value>| -> Vec<Value> {
            special(bos).into_iter().chain(texts).chain(special(eos)).collect()
        };
        let entry = |(id, token): (usize, &str)| {
            (token.to_owned(), json!({ "id": token, "ids": [id], "tokens": [token] }))
        };
        let tokens: serde_json::Map<_, _> = bos.into_iter().chain(eos).map(entry).collect();
        Ok(json!({
            "type": "TemplateProcessing",
            "single": around(vec![text("A")]),
            "pair": around(vec![text("A"), text("B")]),
            "special_tokens": tokens,
        }))
    }
}

/// Rejects metadata that changes the tokenization and is not implemented.
fn check_settings(file: &GgufFile) -> Result<(), Error> {
    for name in ["remove_extra_whitespaces", "add_sep_token"] {
        let key = format!("tokenizer.ggml.{name}");
        if file.boolean(&key)?.unwrap_or(false) {
            return Err(unsupported(file, &format!("`{key}`"), "true", "false".to_owned()));
        }
    }
    let key = "tokenizer.ggml.precompiled_charsmap";
    match file.value(key) {
        None => Ok(()),
        Some(_) => Err(unsupported(file, "the metadata key", key, "other keys".to_owned())),
    }
}

fn byte_level(file: &GgufFile, vocabulary: &Vocabulary<'_>) -> Result<Parts, Error> {
    let pre = file.text("tokenizer.ggml.pre")?.unwrap_or("default");
    let split = SPLITS.iter().find(|split| split.names.contains(&pre)).ok_or_else(|| {
        let names: Vec<_> = SPLITS.iter().flat_map(|s| s.names).map(|n| format!("`{n}`")).collect();
        unsupported(file, "the pre-tokenizer", pre, names.join(", "))
    })?;
    let mut merges = Vec::new();
    for merge in texts(file, "tokenizer.ggml.merges")? {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            file.config_error("tokenizer.ggml.merges", &format!("`{merge}`"), "two parts each")
        })?;
        merges.push(json!([left, right]));
    }
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
    Ok(Parts {
        normalizer: if split.nfc { json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: json!({ "type": "Sequence", "pretokenizers": splits }),
        post_processor: vocabulary.build_around(file, split.adds_bos)?,
        decoder: json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignore_merges, "vocab": vocabulary.ids(), "merges": merges,
        }),
        is_normalized: false,
    })
}

fn sentence_piece(file: &GgufFile, vocabulary: &Vocabulary<'_>) -> Result<Parts, Error> {
    let key = "tokenizer.ggml.scores";
    let scores = file.list(key)?.ok_or_else(|| file.config_error(key, "nothing", "a list"))?;
    let mut numbers = Vec::with_capacity(scores.len());
    for score in scores {
        match score {
            GgufValue::Float(score) => numbers.push(*score),
            _ => return Err(file.config_error(key, "another value in the list", "numbers only")),
        }
    }
    if numbers.len() != vocabulary.tokens.len() {
        let found = format!("{} numbers", numbers.len());
        let expected = format!("one for each of {} tokens", vocabulary.tokens.len());
        return Err(file.config_error(key, &found, &expected));
    }
    let unknown = file.integer("tokenizer.ggml.unknown_token_id")?;
    let unknown = unknown.and_then(|id| vocabulary.tokens.get(id));
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let prepend = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let normalizer = if prepend {
        json!({
            "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, replace],
        })
    } else {
        replace
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prepend {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    Ok(Parts {
        normalizer,
        pre_tokenizer: Value::Null,
        post_processor: vocabulary.build_around(file, true)?,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "ignore_merges": false, "vocab": vocabulary.ids(),
            "merges": merges(&vocabulary.tokens, &numbers),
        }),
        is_normalized: true,
    })
}

/// Lists every pair of pieces that form a piece, the highest scores first; pairs of the same piece by the
/// ids of their parts.
fn merges(tokens: &[&str], scores: &[f64]) -> Vec<Value> {
    #[expect(clippy::disallowed_types, reason = "looked up, never iterated")]
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, t)| (*t, id)).collect();
    let mut pairs = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                pairs.push((id, *left, *right));
            }
        }
    }
    pairs.sort_by(|(a, a_left, a_right), (b, b_left, b_right)| {
        let by_parts = (a_left, a_right).cmp(&(b_left, b_right));
        scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)).then(by_parts)
    });
    pairs.into_iter().map(|(_, left, right)| json!([tokens[left], tokens[right]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_merge_by_score_in_every_possible_way() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc", "x"];
        let found = merges(&tokens, &[0.0, 0.0, 0.0, -2.0, -1.0, -3.0, -1.0]);
        let expected = [["b", "c"], ["a", "b"], ["a", "bc"], ["ab", "c"]];
        assert_eq!(found, expected.map(|pair| json!(pair)));
    }
}
