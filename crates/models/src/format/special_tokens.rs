//! Start and end tokens of a Hugging Face folder.
//!
//! **Names** (`bos_token`, `eos_token`) are read as transformers 4 and 5 read them. Where
//! `tokenizer_config.json` has `added_tokens_decoder`, only that file counts. In older folders
//! `special_tokens_map.json` counts, and `tokenizer_config.json` for keys that it lacks. A token that
//! a newer folder names only in `special_tokens_map.json` is rejected: transformers would not read it,
//! other programs do. A named token of the vocabulary is always matched whole.
//!
//! **`add_bos_token`, `add_eos_token`** set the tokens around plain text, as transformers 4 does for its
//! Llama tokenizers: `true` adds the token whether or not `tokenizer.json` does (never twice), `false`
//! omits it even if `tokenizer.json` adds it, and without the key `tokenizer.json` decides.
//! (transformers 5 ignores both keys beside a `tokenizer.json`.) Chats are not affected: their
//! template writes these tokens.

use std::path::Path;

use preceptor_core::Digest;
use serde_json::{Value, json};

use super::hf_folder::JsonFile;
use super::tokenizer::Tokenizer;
use crate::Error;

const CONFIG: &str = "tokenizer_config.json";
const MAP: &str = "special_tokens_map.json";

/// A folder's settings of start and end tokens.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    config: Option<JsonFile>,
    /// The token that begins a text.
    pub(crate) bos: Option<String>,
    /// The token that ends a text.
    pub(crate) eos: Option<String>,
    /// True if [`MAP`] names another token than [`CONFIG`].
    is_from_map: bool,
}

/// Reads a token: a string, or a table with a string as `content`.
fn read_token(file: Option<&JsonFile>, key: &str) -> Result<Option<String>, Error> {
    let Some((file, value)) = file.and_then(|file| Some((file, file.get(key)?))) else {
        return Ok(None);
    };
    let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
    let expected = "a text, or a table with the text as `content`";
    text.map(|text| Some(text.to_owned()))
        .ok_or_else(|| file.config_error(key, &value.to_string(), expected))
}

impl SpecialTokens {
    /// Reads the files of a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Malformed`], or [`Error::Config`] for a token that is not a string or
    /// that is named only in a file that transformers would not read.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let config = JsonFile::read_if_there(&folder.join(CONFIG))?;
        let map = JsonFile::read_if_there(&folder.join(MAP))?;
        let is_new = config.as_ref().is_some_and(|file| file.get("added_tokens_decoder").is_some());
        let mut is_from_map = false;
        let mut named = |key: &str| {
            let (in_config, in_map) =
                (read_token(config.as_ref(), key)?, read_token(map.as_ref(), key)?);
            if is_new && in_config.is_none() && in_map.is_some() {
                // Null means that there is no token.
                let is_said = config.as_ref().is_some_and(|file| file.has(key));
                if let Some(map) = map.as_ref().filter(|_| !is_said) {
                    let expected = "it in `tokenizer_config.json` too, as that file has `added_tokens_decoder`";
                    return Err(map.config_error(key, "the token in this file alone", expected));
                }
            }
            if is_new || in_map.is_none() {
                return Ok(in_config);
            }
            is_from_map |= in_map != in_config;
            Ok(in_map)
        };
        let (bos, eos) = (named("bos_token")?, named("eos_token")?);
        Ok(Self { config, bos, eos, is_from_map })
    }

    /// Returns `tokenizer_config.json`, if the folder has one.
    pub(crate) fn config(&self) -> Option<&JsonFile> {
        self.config.as_ref()
    }

    /// Builds the tokenizer of a `tokenizer.json`, which came from `path`, with these settings.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`], or [`Error::Config`] for settings that contradict it.
    pub(crate) fn build_tokenizer(&self, json: &[u8], path: &Path) -> Result<Tokenizer, Error> {
        let mut tokenizer = Tokenizer::from_json(json, path)?;
        let named = self.bos.iter().chain(&self.eos).map(String::as_str);
        tokenizer.match_whole(named)?;
        let before =
            self.find_around(&tokenizer, "add_bos_token", self.bos.as_deref(), tokenizer.before())?;
        let after =
            self.find_around(&tokenizer, "add_eos_token", self.eos.as_deref(), tokenizer.after())?;
        if before != tokenizer.before() || after != tokenizer.after() {
            let mut changed: Value =
                serde_json::from_str(&tokenizer.to_json()?).map_err(|error| Error::Malformed {
                    path: path.to_owned(),
                    detail: error.to_string(),
                })?;
            changed["post_processor"] = build_post_processor(&tokenizer, &before, &after)?;
            tokenizer = Tokenizer::from_json(changed.to_string().as_bytes(), path)?;
        }
        if self.is_from_map {
            let names = [&self.bos, &self.eos].map(|name| name.as_deref().unwrap_or_default());
            let digest = tokenizer.digest().as_str().as_bytes().to_vec();
            let parts = [&digest[..], names[0].as_bytes(), names[1].as_bytes()];
            tokenizer.set_digest(Digest::of_parts(parts));
        }
        Ok(tokenizer)
    }

    /// Finds the tokens at one side of a text, where `tokenizer.json` has `present`.
    fn find_around(
        &self,
        tokenizer: &Tokenizer,
        key: &str,
        name: Option<&str>,
        present: &[u32],
    ) -> Result<Vec<u32>, Error> {
        let Some((config, adds)) =
            self.config.as_ref().and_then(|file| Some((file, file.boolean(key).transpose()?)))
        else {
            return Ok(present.to_vec());
        };
        let adds = adds?;
        let id = name.and_then(|name| tokenizer.id_of(name));
        let own: Vec<u32> = id.into_iter().collect();
        if adds && !present.is_empty() && present != own {
            let found = format!("true where `tokenizer.json` adds tokens {present:?}");
            return Err(config.config_error(key, &found, "the key left out"));
        }
        match (adds, name) {
            (false, _) => Ok(Vec::new()),
            (true, Some(_)) if id.is_some() => Ok(own),
            (true, Some(name)) => {
                let found = format!("true where the vocabulary has no `{name}`");
                Err(config.config_error(key, &found, "a token of the vocabulary"))
            }
            (true, None) => {
                let found = "true where no file names the token";
                Err(config.config_error(key, found, "`bos_token` or `eos_token` beside it"))
            }
        }
    }
}

/// Builds the part of a `tokenizer.json` that adds tokens around a text.
fn build_post_processor(
    tokenizer: &Tokenizer,
    before: &[u32],
    after: &[u32],
) -> Result<Value, Error> {
    if before.is_empty() && after.is_empty() {
        return Ok(Value::Null);
    }
    let mut tokens = serde_json::Map::new();
    let mut special = |ids: &[u32], side: u8| {
        let mut parts = Vec::new();
        for id in ids {
            let token = tokenizer.token_of(*id)?;
            parts.push(json!({ "SpecialToken": { "id": token, "type_id": side } }));
            tokens.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        }
        Ok::<_, Error>(parts)
    };
    let mut sequence = |name: &str, side: u8| {
        let text = json!({ "Sequence": { "id": name, "type_id": side } });
        Ok::<_, Error>([special(before, side)?, vec![text], special(after, side)?].concat())
    };
    let (single, second) = (sequence("A", 0)?, sequence("B", 1)?);
    let pair = [single.clone(), second].concat();
    Ok(json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
    }))
}
