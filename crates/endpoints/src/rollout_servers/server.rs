//! A rollout server: its calls, with retries, and what their failures mean.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use preceptor_core::Seed;
use serde_json::Value;

use super::protocol::{Model, Post, ServedRequest, ServedRollout};
use super::{RolloutServersConfig, ServerKind};
use crate::clock;
use crate::halt::Halt;
use crate::retry::Retry;
use crate::transport::{Exchange, Transport};
use crate::{Error, Secret};

/// Longest part of a server's message that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 300;
/// Wait between attempts to load weights that the server does not see yet.
const LOAD_RETRY: Duration = Duration::from_secs(1);

/// A server and what is known about it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    kind: ServerKind,
    transport: Transport,
    key: Option<Secret>,
    retry: Retry,
    load_timeout: Duration,
    /// True once its calls have failed for good.
    is_down: AtomicBool,
}

/// The refusal of a call, or its failure.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The HTTP status; none if there was no answer.
    pub(super) status: Option<u16>,
    pub(super) detail: String,
}

impl Refusal {
    /// Returns true if the server would refuse the same call again: settings are to blame.
    pub(super) fn is_final(&self) -> bool {
        self.status.is_some_and(|status| status != 429 && status < 500)
    }

    fn says(&self, words: &[&str]) -> bool {
        let detail = self.detail.to_lowercase();
        words.iter().any(|word| detail.contains(word))
    }
}

impl Server {
    pub(super) fn new(
        config: &RolloutServersConfig,
        url: &str,
        key: Option<Secret>,
    ) -> Result<Self, Error> {
        let transport = config.transport_config(&[url.to_owned()]);
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            kind: config.kind(),
            retry: Retry {
                max_retries: config.max_retries,
                base: Duration::from_millis(transport.retry_base_millis),
                longest: Duration::from_secs(transport.retry_max_secs),
            },
            transport: Transport::new(&transport, key.as_ref())?,
            key,
            load_timeout: Duration::from_secs(config.load_timeout_secs),
            is_down: AtomicBool::new(false),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Returns the error of `action`, with a hint that fits the refusal.
    pub(super) fn error(&self, action: &str, refusal: &Refusal, folder: Option<&Path>) -> Error {
        let status = refusal.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        Error::RolloutServer {
            action: action.to_owned(),
            url: self.url.clone(),
            detail: format!("{}{status}", refusal.detail),
            hint: self.hint(refusal, folder),
        }
    }

    fn hint(&self, refusal: &Refusal, folder: Option<&Path>) -> String {
        if !refusal.is_final() {
            return "check the server at `rollouts.base-urls` and its log; once it answers, the same command resumes".to_owned();
        }
        if matches!(refusal.status, Some(401 | 403)) {
            return "check the key in the variable that `rollouts.key-env` names".to_owned();
        }
        if refusal.says(&["lora rank", "lora_rank"]) {
            return "lower `train.lora.rank`, or start the server with a larger `--max-lora-rank`"
                .to_owned();
        }
        let is_route = refusal.says(&["not found"]) && refusal.detail.len() < 60;
        match (self.kind, folder) {
            (ServerKind::Vllm, _) if is_route => {
                "start vLLM with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora (adapters), or VLLM_SERVER_DEV_MODE=1 (all weights)".to_owned()
            }
            (ServerKind::Sglang, _) if is_route => {
                "start SGLang with --enable-lora, or name `vllm` in `rollouts.server`".to_owned()
            }
            (_, Some(folder)) => format!(
                "the server must see `{}`: `rollouts.weights-dir` is a folder that trainer and servers share; its model must be the base model of the training run",
                folder.display()
            ),
            (_, None) => "see the server's own log".to_owned(),
        }
    }

    /// Sends one call once.
    fn send(&self, post: &Post) -> Result<Value, Refusal> {
        let exchange = self.transport.post(post.path, &post.body.to_string());
        self.read(exchange)
    }

    fn read(&self, exchange: Result<Exchange, crate::transport::Broken>) -> Result<Value, Refusal> {
        let exchange = exchange
            .map_err(|broken| Refusal { status: None, detail: self.shown(broken.detail) })?;
        let status = Some(exchange.status);
        let body = exchange
            .body
            .map_err(|broken| Refusal { status: None, detail: self.shown(broken.detail) })?;
        if !(200..300).contains(&exchange.status) {
            return Err(Refusal { status, detail: self.shown(message(&body)) });
        }
        // Some routes answer with plain text.
        let value: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
        if value["success"] == Value::Bool(false) {
            return Err(Refusal { status, detail: self.shown(message(&value.to_string())) });
        }
        Ok(value)
    }

    /// Prepares a server's message for display: without the key, on one line, and short.
    fn shown(&self, message: String) -> String {
        let message = match &self.key {
            Some(key) => key.redact(message),
            None => message,
        };
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        match message.char_indices().nth(MAX_MESSAGE_CHARS) {
            Some((end, _)) => format!("{}..", &message[..end]),
            None => message,
        }
    }

    /// Returns the names of the models that it serves, adapters included.
    pub(super) fn models(&self) -> Result<Vec<String>, Refusal> {
        let reply = self.read(self.transport.get("/v1/models"))?;
        let models = reply["data"].as_array().into_iter().flatten();
        Ok(models.filter_map(|model| Some(model["id"].as_str()?.to_owned())).collect())
    }

    /// Loads an adapter under a new name. A server on another machine may see its files late.
    pub(super) fn load_adapter(&self, name: &str, folder: &Path) -> Result<(), Refusal> {
        let started = clock::now();
        loop {
            match self.send(&self.kind.load_adapter(name, folder)) {
                Ok(_) => return Ok(()),
                Err(refusal) if refusal.says(&["already"]) => return Ok(()),
                Err(refusal) => {
                    let is_late = refusal.says(&["no such file", "does not exist", "no adapter"]);
                    let may_come = is_late || !refusal.is_final();
                    if !may_come || clock::now() - started >= self.load_timeout {
                        return Err(refusal);
                    }
                }
            }
            std::thread::sleep(LOAD_RETRY);
        }
    }

    /// Unloads an adapter. One that the server does not have is no error.
    pub(super) fn unload_adapter(&self, name: &str) -> Result<(), Refusal> {
        match self.send(&self.kind.unload_adapter(name)) {
            Err(refusal) if refusal.status.is_some_and(|status| status < 500) => Ok(()),
            Err(refusal) => Err(refusal),
            Ok(_) => Ok(()),
        }
    }

    /// Replaces all weights.
    pub(super) fn load_weights(&self, version: &str, folder: &Path) -> Result<(), Refusal> {
        self.kind.load_weights(version, folder).iter().try_for_each(|post| {
            self.send(post)?;
            Ok(())
        })
    }

    /// Samples one rollout, with retries.
    pub(super) fn generate(
        &self,
        model: Model<'_>,
        request: &ServedRequest<'_>,
        halt: &Halt,
    ) -> Result<ServedRollout, Refusal> {
        let post = self.kind.generate(model, request);
        let seed = Seed::root(u64::from(request.seed));
        for retry in 0.. {
            let refusal = match self.send(&post) {
                Ok(reply) => match self.kind.read_rollout(&reply) {
                    Ok(rollout) => return Ok(rollout),
                    Err(detail) => Refusal { status: None, detail: self.shown(detail) },
                },
                Err(refusal) => refusal,
            };
            let is_last = retry >= self.retry.max_retries || refusal.is_final();
            if is_last || !halt.sleep(self.retry.wait(retry, &seed, None)) {
                return Err(refusal);
            }
        }
        unreachable!("the loop ends with the last retry")
    }
}

/// Returns the message of an error's body.
fn message(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let found = ["/error/message", "/message", "/detail"];
    let found = found.iter().find_map(|pointer| value.pointer(pointer)?.as_str());
    found.map_or_else(|| body.to_owned(), str::to_owned)
}
