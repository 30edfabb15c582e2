//! A loaded model: decoder, tokenizer, chat template, end tokens and identity.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::{Digest, ModelIdentity, Prompt, PromptBody};
use serde_json::Value;

use crate::decoder::{Decoder, DecoderSpec, find_family};
use crate::format::{
    ChatTemplate, GgufFile, GgufValue, HfWeights, JsonFile, SpecialTokens, Tokenizer,
    read_tokenizer,
};
use crate::{Device, Error, Replica};

/// A model in memory.
pub struct Model {
    path: PathBuf,
    family: &'static str,
    /// The weights on each device; at least one.
    replicas: Vec<Replica>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_tokens: BTreeSet<u32>,
    identity: ModelIdentity,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("path", &self.path)
            .field("family", &self.family)
            .field("replicas", &self.replicas)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Spellings of the token that ends a turn, for files that name only the token that ends a text.
const TURN_ENDS: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"];

impl Model {
    /// Loads a Hugging Face folder or a `.gguf` file.
    ///
    /// # Errors
    ///
    /// See [`Error`] for files that are missing, incomplete or not supported.
    pub fn load(path: &Path, device: &Device) -> Result<Self, Error> {
        Self::load_on(path, std::slice::from_ref(device))
    }

    /// Loads a model on several devices, which share its work. The first one does the work that can't be
    /// shared.
    ///
    /// # Errors
    ///
    /// See [`Self::load`].
    ///
    /// # Panics
    ///
    /// If `devices` is empty.
    pub fn load_on(path: &Path, devices: &[Device]) -> Result<Self, Error> {
        assert!(!devices.is_empty(), "a model needs a device");
        if path.is_dir() {
            Self::load_folder(path, devices)
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) && path.is_file()
        {
            Self::load_gguf(path, devices)
        } else {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hint = "a model is a Hugging Face folder or a file that ends in `.gguf`";
            Err(Error::MissingFile { folder, file, hint })
        }
    }

    fn load_folder(folder: &Path, devices: &[Device]) -> Result<Self, Error> {
        let need = |file: &str, hint: &'static str| {
            let path = folder.join(file);
            if path.is_file() {
                Ok(path)
            } else {
                Err(Error::MissingFile { folder: folder.to_owned(), file: file.to_owned(), hint })
            }
        };
        let config_path = need("config.json", "every Hugging Face model has one")?;
        let config = JsonFile::read(&config_path)?;
        let name = config.text("model_type")?.ok_or_else(|| {
            config.config_error("model_type", "nothing", "an architecture's name")
        })?;
        let family = find_family(&config_path, name)?;
        let tokenizer_path =
            need("tokenizer.json", "slow tokenizers can't be read; save it with a fast one")?;
        let tokenizer_json = fs::read(&tokenizer_path)
            .map_err(|source| Error::Read { path: tokenizer_path.clone(), source })?;
        let special = SpecialTokens::read(folder)?;
        let tokenizer = special.build_tokenizer(&tokenizer_json, &tokenizer_path)?;
        let weights = HfWeights::open(folder)?;
        let load = |device: &Device| family.load_folder(&config, &weights, device);
        let (replicas, digest) =
            rayon::join(|| replicas(devices, load), || weights_digest(weights.bytes()));
        let replicas = replicas?;

        let template_path = folder.join("chat_template.jinja");
        let source = if template_path.is_file() {
            let text = fs::read_to_string(&template_path);
            Some(text.map_err(|source| Error::Read { path: template_path.clone(), source })?)
        } else {
            special.config().and_then(|s| s.get("chat_template")).and_then(template_in)
        };
        let template = source
            .map(|source| {
                ChatTemplate::new(source, folder, special.bos.clone(), special.eos.clone())
            })
            .transpose()?;

        let mut end_tokens = BTreeSet::new();
        let generation = JsonFile::read_if_there(&folder.join("generation_config.json"))?;
        for file in generation.iter().chain([&config]) {
            end_tokens.extend(file.get("eos_token_id").into_iter().flat_map(ids_in));
        }
        end_tokens.extend(special.eos.and_then(|token| tokenizer.id_of(&token)));
        Self {
            path: folder.to_owned(),
            family: family.name(),
            replicas,
            tokenizer,
            template,
            end_tokens,
            identity: placeholder_identity(),
        }
        .identified(digest)
    }

    fn load_gguf(path: &Path, devices: &[Device]) -> Result<Self, Error> {
        let file = GgufFile::open(path)?;
        let key = "general.architecture";
        let name = file
            .text(key)?
            .ok_or_else(|| file.config_error(key, "nothing", "an architecture's name"))?;
        let family = find_family(path, name)?;
        let load = |device: &Device| family.load_gguf(&file, device);
        let ((replicas, tokenizer), digest) = rayon::join(
            || {
                let tokenizer = read_tokenizer(&file)
                    .and_then(|json| Tokenizer::from_json(json.as_bytes(), path));
                (replicas(devices, load), tokenizer)
            },
            || weights_digest([file.bytes()]),
        );
        let (replicas, tokenizer) = (replicas?, tokenizer?);
        let token = |id: Option<usize>| match file.value("tokenizer.ggml.tokens") {
            Some(GgufValue::List(tokens)) => match tokens.get(id?)? {
                GgufValue::Text(token) => Some(token.clone()),
                _ => None,
            },
            _ => None,
        };
        let bos = token(file.integer("tokenizer.ggml.bos_token_id")?);
        let eos = token(file.integer("tokenizer.ggml.eos_token_id")?);
        let template = file
            .text("tokenizer.chat_template")?
            .map(|source| ChatTemplate::new(source.to_owned(), path, bos, eos))
            .transpose()?;
        let mut end_tokens = BTreeSet::new();
        for key in ["eos", "eot", "eom"] {
            let id = file.integer(&format!("tokenizer.ggml.{key}_token_id"))?;
            end_tokens.extend(id.and_then(|id| u32::try_from(id).ok()));
        }
        Self {
            path: path.to_owned(),
            family: family.name(),
            replicas,
            tokenizer,
            template,
            end_tokens,
            identity: placeholder_identity(),
        }
        .identified(digest)
    }

    /// Completes a loaded model with its turn ends and its identity.
    fn identified(mut self, weights: Digest) -> Result<Self, Error> {
        if self.template.is_some() {
            self.end_tokens.extend(TURN_ENDS.iter().filter_map(|t| self.tokenizer.id_of(t)));
        }
        let config = self.canonical_config();
        self.identity = ModelIdentity {
            weights: Digest::of_parts([
                weights.as_str().as_bytes(),
                self.family.as_bytes(),
                config.as_bytes(),
            ]),
            tokenizer: self.tokenizer.digest().clone(),
            template: self.template.as_ref().map(|t| t.digest().clone()),
            attested: true,
        };
        Ok(self)
    }

    /// Returns the path that it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the family's name, for example `llama`.
    pub fn architecture(&self) -> &'static str {
        self.family
    }

    /// Returns its device, the first of several.
    pub fn device(&self) -> &Device {
        self.replicas[0].device()
    }

    /// Returns its weights on each of its devices; at least one.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Returns its sizes.
    pub fn spec(&self) -> &DecoderSpec {
        self.decoder().spec()
    }

    /// Returns the number of tokens that fit into the context window.
    pub fn context_length(&self) -> usize {
        self.spec().context_length
    }

    /// Returns the number of weights; tied ones count once.
    pub fn num_parameters(&self) -> u64 {
        self.spec().num_parameters
    }

    /// Returns the configuration in canonical form.
    pub fn canonical_config(&self) -> String {
        self.decoder().canonical_config()
    }

    /// Returns the identity by which the store knows the model.
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Returns the decoder on the first device.
    pub fn decoder(&self) -> &dyn Decoder {
        self.replicas[0].decoder()
    }

    /// Replaces the weights by others of the same shape on the same devices. `weights` becomes their digest
    /// in the identity.
    pub fn set_replicas(&mut self, replicas: Vec<Replica>, weights: Digest) {
        self.replicas = replicas;
        self.identity.weights = weights;
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the chat template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Returns the tokens that end a rollout.
    pub fn end_tokens(&self) -> &BTreeSet<u32> {
        &self.end_tokens
    }

    /// Encodes a prompt: a chat through the template, plain text with the tokenizer's start token. A chat
    /// has only the start token that its template writes.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for plain text with a tokenizer that appends an end token;
    /// [`Error::NoTemplate`], [`Error::Template`], [`Error::Tokenizer`], [`Error::EmptyPrompt`] or
    /// [`Error::UnknownToken`] (a tokenizer that knows more tokens than the weights).
    pub fn prompt_tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Error> {
        let tokens = match &prompt.body {
            PromptBody::Text(text) => {
                if let Some(last) = self.tokenizer.after().first() {
                    return Err(Error::Unsupported {
                        path: self.path.clone(),
                        what: "a plain text prompt to which the tokenizer appends".to_owned(),
                        found: self.tokenizer.token_of(*last)?,
                        allowed: "prompts that a model can continue".to_owned(),
                        hint: "set `add_eos_token` to false in `tokenizer_config.json`",
                    });
                }
                self.tokenizer.encode(text, true)?
            }
            PromptBody::Chat(messages) => {
                let template = self
                    .template
                    .as_ref()
                    .ok_or_else(|| Error::NoTemplate { path: self.path.clone() })?;
                self.tokenizer.encode(&template.render(messages, prompt.thinking)?, false)?
            }
        };
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt { prompt: prompt.id.to_string() });
        }
        self.check_tokens(&tokens)?;
        Ok(tokens)
    }

    /// Encodes a complete reply: `text`, then `stop` if there is one, else the token that ends a turn.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`].
    pub fn reply_tokens(&self, text: &str, stop: Option<&str>) -> Result<Vec<u32>, Error> {
        if let Some(stop) = stop {
            return self.tokenizer.encode(&format!("{text}{stop}"), false);
        }
        let mut tokens = self.tokenizer.encode(text, false)?;
        let turn_end = TURN_ENDS.iter().filter_map(|t| self.tokenizer.id_of(t)).next();
        let turn_end = turn_end.filter(|_| self.template.is_some());
        tokens.extend(turn_end.or_else(|| self.end_tokens.first().copied()));
        Ok(tokens)
    }

    /// Checks that every token is in the vocabulary of the weights.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownToken`].
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab_size = self.spec().vocab_size;
        match tokens.iter().find(|token| **token as usize >= vocab_size) {
            Some(token) => Err(Error::UnknownToken { token: *token, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Loads a decoder on each device.
fn replicas(
    devices: &[Device],
    load: impl Fn(&Device) -> Result<Box<dyn Decoder>, Error>,
) -> Result<Vec<Replica>, Error> {
    devices.iter().map(|device| Ok(Replica::new(device.clone(), load(device)?))).collect()
}

fn placeholder_identity() -> ModelIdentity {
    let empty = Digest::of(&[]);
    ModelIdentity { weights: empty.clone(), tokenizer: empty, template: None, attested: true }
}

/// Computes the digest of the weight files.
fn weights_digest<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let digests: Vec<String> = files
        .into_iter()
        .map(|bytes| {
            let mut hasher = blake3::Hasher::new();
            hasher.update_rayon(bytes);
            hasher.finalize().to_hex().to_string()
        })
        .collect();
    Digest::of_parts(digests.iter().map(String::as_bytes))
}

/// Reads an id or a list of ids.
fn ids_in(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        other => id(other).into_iter().collect(),
    }
}

/// Reads a template: a string, or the entry `default` of a list of named ones.
fn template_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items
            .iter()
            .find(|item| item.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|item| item.get("template").and_then(Value::as_str))
            .map(str::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn end_tokens_are_an_id_or_a_list() {
        assert_eq!(ids_in(&json!(7)), [7]);
        assert_eq!(ids_in(&json!([7, 9])), [7, 9]);
        assert_eq!(ids_in(&json!([7, -1, "x", 4_294_967_296_u64])), [7]);
        assert_eq!(ids_in(&json!(null)), [0; 0]);
    }

    #[test]
    fn the_default_of_named_templates_counts() {
        let named = json!([
            { "name": "tool_use", "template": "a" },
            { "name": "default", "template": "b" },
        ]);
        assert_eq!(template_in(&named).as_deref(), Some("b"));
        assert_eq!(template_in(&json!("c")).as_deref(), Some("c"));
        assert_eq!(template_in(&json!([{ "name": "rag", "template": "a" }])), None);
    }
}
