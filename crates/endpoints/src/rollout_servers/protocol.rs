//! Routes and bodies of vLLM and SGLang: weights by folder, token ids in, token ids out.
//!
//! | | vLLM | SGLang |
//! |---|---|---|
//! | adapter | `/v1/load_lora_adapter`, `/v1/unload_lora_adapter` | `/load_lora_adapter`, `/unload_lora_adapter` |
//! | all weights | `/collective_rpc` `reload_weights`, `/reset_prefix_cache` | `/update_weights_from_disk` |
//! | rollouts | `/v1/completions` with `return_token_ids` | `/generate` with `input_ids` |
//!
//! Read in vLLM 0.32.0 and SGLang 0.5.23. An adapter is never loaded in place and no name is used
//! twice: vLLM would read the adapter again at every scheduler step, and both would reuse cached keys
//! and values of the old weights.

use std::path::Path;

use preceptor_core::Sampling;
use serde_json::{Value, json};

use super::ServerKind;

/// Route and body of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Post {
    pub(super) path: &'static str,
    pub(super) body: Value,
}

/// Tokens of a rollout as a server returned them.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedRollout {
    /// The sampled ids; the end token is the last one if the rollout ended by it.
    pub token_ids: Vec<u32>,
    /// Natural log-probability of each in the server, at the sampling temperature.
    pub logprobs: Vec<f32>,
}

/// The call for a rollout: the prompt that it continues, and the sampling.
#[derive(Clone, Debug)]
pub struct ServedRequest<'r> {
    /// The prompt's ids.
    pub prompt: &'r [u32],
    /// The rollout's seed.
    pub seed: u32,
    /// The most tokens.
    pub max_new_tokens: u32,
    /// The temperature.
    pub temperature: f64,
    /// Ids that end a rollout.
    pub end_tokens: &'r [u32],
}

impl ServerKind {
    /// Refuses sampling whose log-probabilities a server can't return over the whole distribution.
    ///
    /// # Errors
    ///
    /// The setting, its value and what is allowed.
    pub fn check(self, sampling: &Sampling) -> Result<(), String> {
        let cuts = [
            ("top-k", f64::from(sampling.top_k), 0.0),
            ("top-p", sampling.top_p, 1.0),
            ("min-p", sampling.min_p, 0.0),
        ];
        for (key, value, neutral) in cuts {
            if value != neutral {
                return Err(format!(
                    "`{key} = {value}` is not supported with `[rollouts]`, expected {neutral}: {self} returns log-probabilities over the kept tokens only"
                ));
            }
        }
        if !sampling.stop.is_empty() {
            return Err("stop strings are not supported with `[rollouts]`".to_owned());
        }
        Ok(())
    }

    pub(super) fn load_adapter(self, name: &str, folder: &Path) -> Post {
        let body = json!({ "lora_name": name, "lora_path": folder });
        match self {
            Self::Vllm => Post { path: "/v1/load_lora_adapter", body },
            Self::Sglang => Post { path: "/load_lora_adapter", body },
        }
    }

    pub(super) fn unload_adapter(self, name: &str) -> Post {
        let body = json!({ "lora_name": name });
        match self {
            Self::Vllm => Post { path: "/v1/unload_lora_adapter", body },
            Self::Sglang => Post { path: "/unload_lora_adapter", body },
        }
    }

    /// Returns the calls that replace all weights.
    pub(super) fn load_weights(self, version: &str, folder: &Path) -> Vec<Post> {
        match self {
            Self::Vllm => vec![
                Post {
                    path: "/collective_rpc",
                    body: json!({ "method": "reload_weights", "kwargs": { "weights_path": folder } }),
                },
                Post { path: "/reset_prefix_cache", body: json!({}) },
            ],
            Self::Sglang => vec![Post {
                path: "/update_weights_from_disk",
                body: json!({
                    "model_path": folder, "flush_cache": true, "weight_version": version,
                }),
            }],
        }
    }

    /// Returns the call for one rollout of `model`: an adapter, or the base model.
    pub(super) fn generate(self, model: Model<'_>, request: &ServedRequest<'_>) -> Post {
        match self {
            Self::Vllm => Post {
                path: "/v1/completions",
                body: json!({
                    "model": model.name(),
                    "prompt": request.prompt,
                    "max_tokens": request.max_new_tokens,
                    "temperature": request.temperature,
                    "top_p": 1.0,
                    "top_k": -1,
                    "min_p": 0.0,
                    "repetition_penalty": 1.0,
                    "seed": request.seed,
                    "ignore_eos": true,
                    "stop_token_ids": request.end_tokens,
                    "skip_special_tokens": false,
                    "logprobs": 0,
                    "return_token_ids": true,
                }),
            },
            Self::Sglang => {
                let mut body = json!({
                    "input_ids": request.prompt,
                    "sampling_params": {
                        "max_new_tokens": request.max_new_tokens,
                        "temperature": request.temperature,
                        "top_p": 1.0,
                        "top_k": -1,
                        "min_p": 0.0,
                        "repetition_penalty": 1.0,
                        "sampling_seed": request.seed,
                        "ignore_eos": true,
                        "stop_token_ids": request.end_tokens,
                        "skip_special_tokens": false,
                        "no_stop_trim": true,
                    },
                    "return_logprob": true,
                    "logprob_start_len": -1,
                });
                if let Model::Adapter(name) = model {
                    body["lora_path"] = json!(name);
                }
                Post { path: "/generate", body }
            }
        }
    }

    /// Reads a rollout from a reply.
    pub(super) fn read_rollout(self, reply: &Value) -> Result<ServedRollout, String> {
        let (rollout, finish) = match self {
            Self::Vllm => read_vllm(reply)?,
            Self::Sglang => read_sglang(reply)?,
        };
        if !matches!(finish, "stop" | "length") {
            return Err(format!(
                "a rollout that ended by {finish:?}, expected \"stop\" or \"length\""
            ));
        }
        let (ids, logprobs) = (rollout.token_ids.len(), rollout.logprobs.len());
        if ids == 0 || ids != logprobs {
            return Err(format!("{ids} tokens and {logprobs} log-probabilities"));
        }
        Ok(rollout)
    }
}

/// The model that a call names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Model<'n> {
    Base(&'n str),
    Adapter(&'n str),
}

impl Model<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Base(name) | Self::Adapter(name) => name,
        }
    }
}

fn id(value: &Value) -> Result<u32, String> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| format!("expected a token id, found {value}"))
}

fn logprob(value: &Value) -> Result<f32, String> {
    let found = value.as_f64().map(|logprob| logprob as f32).filter(|logprob| logprob.is_finite());
    found.ok_or_else(|| format!("expected a log-probability, found {value}"))
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, String> {
    let hint = "the server is too old, or it is another program than `rollouts.server` says";
    value.as_array().ok_or_else(|| format!("a reply without `{name}` ({hint})"))
}

fn read_vllm(reply: &Value) -> Result<(ServedRollout, &str), String> {
    let choice = &reply["choices"][0];
    let token_ids =
        list(&choice["token_ids"], "token_ids")?.iter().map(id).collect::<Result<_, _>>()?;
    let logprobs = list(&choice["logprobs"]["token_logprobs"], "logprobs.token_logprobs")?;
    let logprobs = logprobs.iter().map(logprob).collect::<Result<_, _>>()?;
    let finish = choice["finish_reason"].as_str().unwrap_or("nothing");
    Ok((ServedRollout { token_ids, logprobs }, finish))
}

fn read_sglang(reply: &Value) -> Result<(ServedRollout, &str), String> {
    let meta = &reply["meta_info"];
    let pairs = list(&meta["output_token_logprobs"], "meta_info.output_token_logprobs")?;
    let token_ids = pairs.iter().map(|pair| id(&pair[1])).collect::<Result<Vec<_>, _>>()?;
    let logprobs = pairs.iter().map(|pair| logprob(&pair[0])).collect::<Result<_, _>>()?;
    let given = list(&reply["output_ids"], "output_ids")?.iter().map(id);
    if given.collect::<Result<Vec<_>, _>>()? != token_ids {
        return Err("`output_ids` and `output_token_logprobs` name different tokens".to_owned());
    }
    let finish = meta["finish_reason"]["type"].as_str().unwrap_or("nothing");
    Ok((ServedRollout { token_ids, logprobs }, finish))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vllm(finish: &str) -> Value {
        json!({"choices": [{
            "text": "ignored", "token_ids": [5, 2], "finish_reason": finish, "stop_reason": 2,
            "logprobs": {"tokens": ["a", ""], "token_logprobs": [-0.5, -1.25]},
        }]})
    }

    fn sglang(second: u32) -> Value {
        json!({"output_ids": [5, 2], "text": "ignored", "meta_info": {
            "finish_reason": {"type": "stop", "matched": 2},
            "output_token_logprobs": [[-0.5, 5, null], [-1.25, second, null]],
        }})
    }

    #[test]
    fn replies_of_both_servers_are_read() {
        let expected = ServedRollout { token_ids: vec![5, 2], logprobs: vec![-0.5, -1.25] };
        assert_eq!(ServerKind::Vllm.read_rollout(&vllm("stop")), Ok(expected.clone()));
        assert_eq!(ServerKind::Sglang.read_rollout(&sglang(2)), Ok(expected));
    }

    #[test]
    fn replies_without_ids_or_with_others_are_refused() {
        let without = |pointer: &str, value: Value| {
            let mut reply = vllm("length");
            *reply.pointer_mut(pointer).expect("it is there") = value;
            ServerKind::Vllm.read_rollout(&reply).unwrap_err()
        };
        let messages = [
            without("/choices/0/token_ids", Value::Null),
            without("/choices/0/token_ids", json!([5])),
            without("/choices/0/token_ids", json!([5, -2])),
            without("/choices/0/logprobs/token_logprobs", json!([null, -1.0])),
            without("/choices/0/logprobs/token_logprobs/0", json!("-inf")),
            without("/choices/0/finish_reason", json!("abort")),
            ServerKind::Vllm.read_rollout(&json!({"choices": []})).unwrap_err(),
            ServerKind::Sglang.read_rollout(&sglang(3)).unwrap_err(),
            ServerKind::Sglang.read_rollout(&vllm("stop")).unwrap_err(),
        ];
        insta::assert_snapshot!(messages.join("\n"), @r#"
        a reply without `token_ids` (the server is too old, or it is another program than `rollouts.server` says)
        1 tokens and 2 log-probabilities
        expected a token id, found -2
        expected a log-probability, found null
        expected a log-probability, found "-inf"
        a rollout that ended by "abort", expected "stop" or "length"
        a reply without `token_ids` (the server is too old, or it is another program than `rollouts.server` says)
        `output_ids` and `output_token_logprobs` name different tokens
        a reply without `meta_info.output_token_logprobs` (the server is too old, or it is another program than `rollouts.server` says)
        "#);
    }

    #[test]
    fn sampling_that_cuts_the_distribution_is_refused() {
        let cut = Sampling { top_p: 0.9, ..Sampling::default() };
        let stop = Sampling { stop: vec!["\n".to_owned()], ..Sampling::default() };
        assert!(ServerKind::Vllm.check(&Sampling::default()).is_ok());
        insta::assert_snapshot!(ServerKind::Vllm.check(&cut).unwrap_err(), @"`top-p = 0.9` is not supported with `[rollouts]`, expected 1: vllm returns log-probabilities over the kept tokens only");
        insta::assert_snapshot!(ServerKind::Sglang.check(&stop).unwrap_err(), @"stop strings are not supported with `[rollouts]`");
    }
}
