//! Fixtures and helpers for requests.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use preceptor_core::{
    GenerationObserver, GenerationRequest, Message, Prompt, PromptBody, PromptId, Role, Rollout,
    RolloutSeed, Seed, Usage,
};
use preceptor_models::{
    CpuKvCache, Decoder, Device, GenerationOptions, KvCache, LocalModel, Model, SequenceId, Span,
    to_vec,
};
use serde_json::Value;
use tempfile::TempDir;

/// Returns the folder of the parity fixtures.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity")).to_owned()
}

/// The families with a small random checkpoint.
pub(crate) const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// Returns the folder of the small random Llama checkpoint.
pub(crate) fn llama_folder() -> PathBuf {
    fixtures().join("llama")
}

/// Copies a family's checkpoint, to be changed.
pub(crate) fn copied(family: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(fixtures().join(family)).expect("a fixture") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let target = folder.path().join(path.file_name().expect("a name"));
            std::fs::copy(&path, target).expect("copies");
        }
    }
    folder
}

/// Changes a JSON file, which may be missing.
pub(crate) fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = if path.is_file() { json(path) } else { serde_json::json!({}) };
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("writes");
}

/// Returns the message for a model that can't be loaded, without the folder's name.
pub(crate) fn refusal(path: &Path) -> String {
    let error = Model::load(path, &Device::cpu()).expect_err("rejected").to_string();
    let folder = if path.is_dir() { path } else { path.parent().expect("a folder") };
    error.replace(&folder.display().to_string(), "models")
}

/// Reads a JSON fixture.
pub(crate) fn json(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the fixture is in the repository");
    serde_json::from_slice(&text).expect("fixtures are valid JSON")
}

pub(crate) fn load(path: &Path) -> Model {
    Model::load(path, &Device::cpu()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn local(path: &Path, max_batch: usize) -> LocalModel {
    LocalModel::new(load(path), GenerationOptions::with_max_batch(max_batch))
}

/// Returns the file of a real model, or prints that it is missing.
pub(crate) fn fetched(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let models = std::env::var_os("PRECEPTOR_MODELS_DIR")
        .map(PathBuf::from)
        .or_else(|| cache.map(|cache| cache.join("preceptor/models")));
    let files = models.and_then(|models| std::fs::read_dir(models.join(name)).ok());
    let gguf = files.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let found = gguf.filter(|path| path.extension().is_some_and(|e| e == "gguf")).min();
    if found.is_none() {
        println!("skipped: {name} is not fetched (preceptor models fetch {name})");
    }
    found
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let id = |v: &Value| u32::try_from(v.as_u64().expect("an id")).expect("a small id");
    value.as_array().expect("a list").iter().map(id).collect()
}

pub(crate) fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

pub(crate) fn text_prompt(text: &str) -> Prompt {
    Prompt::new(PromptId::new(text), PromptBody::Text(text.to_owned()))
}

pub(crate) fn chat_prompt(text: &str) -> Prompt {
    let message = Message { role: Role::User, content: text.to_owned() };
    Prompt::new(PromptId::new(text), PromptBody::Chat(vec![message]))
}

pub(crate) fn request(prompt: Prompt, group_size: u32) -> GenerationRequest {
    let node = Seed::root(5).derive(prompt.id.as_str());
    let seed = |index| RolloutSeed { index, seed: node.derive_index(u64::from(index)) };
    GenerationRequest { prompt, rollouts: (0..group_size).map(seed).collect() }
}

/// An observer that records its events.
#[derive(Debug, Default)]
pub(crate) struct EventRecorder {
    pub(crate) ended: BTreeSet<(usize, u32)>,
    pub(crate) usage: Usage,
}

impl GenerationObserver for EventRecorder {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert!(self.ended.insert((request, rollout.index)), "each rollout ends once");
        Ok(())
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.usage += usage;
    }
}

/// A reader of a sequence piece by piece.
pub(crate) struct Session<'a> {
    decoder: &'a dyn Decoder,
    cache: CpuKvCache,
    sequence: SequenceId,
}

impl<'a> Session<'a> {
    pub(crate) fn new(decoder: &'a dyn Decoder) -> Self {
        let mut cache = CpuKvCache::new();
        let sequence = cache.open(None);
        Self { decoder, cache, sequence }
    }

    /// Continues from the tokens read so far, in a sequence that shares them.
    pub(crate) fn fork(&mut self) {
        self.sequence = self.cache.open(Some(self.sequence));
    }

    /// Computes the logits after each of `tokens`.
    pub(crate) fn read(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let before = u32::try_from(self.cache.len(self.sequence)).expect("short");
        let positions: Vec<u32> = (before..).take(tokens.len()).collect();
        self.cache.begin(&[Span { sequence: self.sequence, len: tokens.len() }]);
        let hidden = self.decoder.forward(tokens, &positions, &mut self.cache);
        self.cache.commit();
        let vocab_size = self.decoder.spec().vocab_size;
        let logits = to_vec(self.decoder.logits(&hidden));
        logits.chunks(vocab_size).map(<[f32]>::to_vec).collect()
    }
}
