//! A small vLLM in this process, with its faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use preceptor_core::{Sampling, Seed};
use preceptor_models::{
    Device, Model, Replica, Trainable, sample_token, sequence_logits, token_logprob,
};
use preceptor_testkit::server::{Act, Received, Server, closed, error, ok};
use serde_json::{Value, json};

use crate::process::TINY_MODEL;

/// The faults of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The routes for adapters are switched off.
    pub(crate) no_adapters: bool,
    /// Adapters are loaded and not used.
    pub(crate) ignores_adapters: bool,
    /// Log-probabilities are at temperature 1.
    pub(crate) raw_logprobs: bool,
    /// Loading fails with this message.
    pub(crate) refuses: Option<&'static str>,
    /// Connections are closed from this call for a rollout on.
    pub(crate) closes_from: Option<usize>,
    /// Adapters are forgotten at this call for a rollout.
    pub(crate) restarts_at: Option<usize>,
    /// Seeds are moved by this number: the server repeats no rollout of another one.
    pub(crate) seed_shift: u64,
    /// This call for a rollout is answered once `judged` is set, and after [`PATIENCE`] in any case.
    pub(crate) holds: Option<usize>,
}

/// Moments to wait for a judge at most: 20 seconds.
const PATIENCE: u32 = 4000;
const MOMENT: Duration = Duration::from_millis(5);

/// The weights that a server has, and what it was asked.
pub(crate) struct FakeVllm {
    base: Model,
    faults: Faults,
    /// Loaded weights by name; those without an adapter are called `base`.
    pub(crate) weights: Mutex<BTreeMap<String, Arc<Vec<Replica>>>>,
    pub(crate) loaded: Mutex<Vec<String>>,
    pub(crate) num_rollouts: AtomicUsize,
    /// True once a judge was asked.
    pub(crate) judged: AtomicBool,
}

impl FakeVllm {
    pub(crate) fn new(faults: Faults) -> Arc<Self> {
        let base = Model::load(Path::new(TINY_MODEL), &Device::cpu()).expect("a fixture");
        Arc::new(Self {
            base,
            faults,
            weights: Mutex::default(),
            loaded: Mutex::default(),
            num_rollouts: AtomicUsize::new(0),
            judged: AtomicBool::new(false),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) -> Server {
        let server = Arc::clone(self);
        Server::start(move |received| server.answer(received))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.weights.lock().expect("no panic").keys().cloned().collect()
    }

    fn answer(&self, received: &Received) -> Act {
        let body = &received.body;
        let text = |key: &str| body[key].as_str().expect("a string").to_owned();
        match received.path.as_str() {
            "/v1/models" => {
                let names = [vec!["tiny".to_owned()], self.names()].concat();
                let models: Vec<_> = names.iter().map(|name| json!({ "id": name })).collect();
                ok(json!({ "data": models }))
            }
            "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" if self.faults.no_adapters => {
                Act::Answer(404, "", json!({ "detail": "Not Found" }).to_string())
            }
            "/v1/load_lora_adapter" => self.load(&text("lora_name"), &text("lora_path")),
            "/v1/unload_lora_adapter" => {
                self.weights.lock().expect("no panic").remove(&text("lora_name"));
                Act::Answer(200, "", "Success: LoRA adapter removed".to_owned())
            }
            "/collective_rpc" => {
                let folder = body["kwargs"]["weights_path"].as_str().expect("a path");
                let model = Model::load(Path::new(folder), &Device::cpu()).expect("a whole folder");
                self.loaded.lock().expect("no panic").push(folder.to_owned());
                let replicas = Arc::new(Trainable::full(&model).merged());
                self.weights.lock().expect("no panic").insert("base".to_owned(), replicas);
                ok(json!({ "results": [null] }))
            }
            "/reset_prefix_cache" => ok(json!({ "success": true })),
            "/v1/completions" => self.complete(body),
            other => error(404, &format!("no route {other}")),
        }
    }

    fn load(&self, name: &str, folder: &str) -> Act {
        if let Some(message) = self.faults.refuses {
            return error(400, message);
        }
        if self.weights.lock().expect("no panic").contains_key(name) {
            return error(400, &format!("The lora adapter '{name}' has already been loaded."));
        }
        let adapter = Trainable::load_adapter(&self.base, Path::new(folder)).expect("an adapter");
        let replicas = if self.faults.ignores_adapters {
            Trainable::full(&self.base).merged()
        } else {
            adapter.merged()
        };
        self.loaded.lock().expect("no panic").push(name.to_owned());
        self.weights.lock().expect("no panic").insert(name.to_owned(), Arc::new(replicas));
        Act::Answer(200, "", format!("Success: LoRA adapter '{name}' added"))
    }

    fn complete(&self, body: &Value) -> Act {
        let call = self.num_rollouts.fetch_add(1, Ordering::SeqCst);
        if self.faults.closes_from.is_some_and(|from| call >= from) {
            return closed();
        }
        if self.faults.holds == Some(call) {
            for _ in 0..PATIENCE {
                if self.judged.load(Ordering::SeqCst) {
                    break;
                }
                thread::sleep(MOMENT);
            }
            // No judge was asked while this rollout was missing.
            if !self.judged.load(Ordering::SeqCst) {
                return error(400, "the judge was not asked before all rollouts were sampled");
            }
        }
        if self.faults.restarts_at == Some(call) {
            self.weights.lock().expect("no panic").clear();
        }
        let name = body["model"].as_str().expect("a name");
        let name = if name == "tiny" { "base" } else { name };
        let loaded = self.weights.lock().expect("no panic").get(name).cloned();
        let replicas = match loaded {
            Some(replicas) => replicas,
            None if name == "base" => Arc::new(Trainable::full(&self.base).merged()),
            None => return error(404, &format!("The model `{name}` does not exist.")),
        };
        let ids = |value: &Value| -> Vec<u32> {
            let ids = value.as_array().expect("ids").iter();
            ids.map(|id| u32::try_from(id.as_u64().expect("an id")).expect("small")).collect()
        };
        let (mut tokens, ends) = (ids(&body["prompt"]), ids(&body["stop_token_ids"]));
        let num_prompt_tokens = tokens.len();
        let temperature = body["temperature"].as_f64().expect("a number");
        let sampling = Sampling { temperature, ..Sampling::default() };
        let mut stream =
            Seed::root(body["seed"].as_u64().expect("a seed") + self.faults.seed_shift).rng();
        let (mut logprobs, mut finish) = (Vec::new(), "length");
        for _ in 0..body["max_tokens"].as_u64().expect("a number") {
            let logits = sequence_logits(replicas[0].decoder(), &tokens);
            let mut logits = logits.last().expect("a prompt").clone();
            let token = sample_token(&logits, &sampling, &mut stream).token;
            if !self.faults.raw_logprobs {
                logits.iter_mut().for_each(|logit| *logit /= temperature as f32);
            }
            logprobs.push(token_logprob(&logits, token));
            tokens.push(token);
            if ends.contains(&token) {
                finish = "stop";
                break;
            }
        }
        ok(json!({ "choices": [{
            "text": "not read",
            "token_ids": tokens[num_prompt_tokens..],
            "logprobs": { "token_logprobs": logprobs },
            "finish_reason": finish,
        }]}))
    }
}
