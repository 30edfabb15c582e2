//! Settings of rollout servers.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Config, Error, Secret};

/// The program that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// vLLM, from version 0.10 on.
    Vllm,
    /// SGLang.
    Sglang,
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        })
    }
}

/// The `[rollouts]` table: servers that sample the rollouts of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RolloutServersConfig {
    /// The program: `vllm`, or `sglang`, which was never run with this client. Required; no default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerKind>,
    /// Addresses of the servers, without a path: `http://node1:8000`. Prompts are spread over them.
    /// Required; no default.
    pub base_urls: Vec<String>,
    /// Folder for the weights of each step, which trainer and servers see under the same path.
    /// Required; no default.
    pub weights_dir: PathBuf,
    /// Name of the base model on the servers. Default: the first model that they list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Name of the environment variable that holds the key of the servers. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The most concurrent rollouts per server, 1 to 1024. Default: 64 (our choice).
    pub concurrency: u32,
    /// The longest time of a call, in seconds, 1 to 86400. Default: 1800 (our choice).
    pub timeout_secs: u64,
    /// The longest time until a server has loaded new weights, in seconds, 1 to 86400; a shared file
    /// system may show them late. Default: 120 (our choice).
    pub load_timeout_secs: u64,
    /// Retries of a failed call to one server before that server is left out, 0 to 100. Default: 3
    /// (our choice).
    pub max_retries: u32,
    /// The largest mean distance between the server's and the trainer's log-probabilities of a probe,
    /// in nats, above 0 and up to 10; a larger one means that the server has other weights. Default:
    /// 0.1 (our choice: rounding to bf16 moves them by about 0.02).
    pub max_logprob_gap: f64,
}

impl Default for RolloutServersConfig {
    fn default() -> Self {
        Self {
            server: None,
            base_urls: Vec::new(),
            weights_dir: PathBuf::new(),
            model: None,
            key_env: None,
            concurrency: 64,
            timeout_secs: 1800,
            load_timeout_secs: 120,
            max_retries: 3,
            max_logprob_gap: 0.1,
        }
    }
}

impl RolloutServersConfig {
    /// Returns the server's kind.
    ///
    /// # Panics
    ///
    /// Before [`Self::validate`] has accepted the settings.
    pub fn kind(&self) -> ServerKind {
        self.server.expect("validated settings name a server")
    }

    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`Error::BadSetting`] names the first setting that can't be used, and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: &dyn fmt::Display, allowed| {
            Err(Error::BadSetting { key, value: value.to_string(), allowed })
        };
        if self.server.is_none() {
            return refuse("server", &"\"\"", "must be `vllm` or `sglang`");
        }
        if self.weights_dir.as_os_str().is_empty() {
            let allowed = "give a folder that trainer and servers see under the same path";
            return refuse("weights-dir", &"\"\"", allowed);
        }
        for url in &self.base_urls {
            let rest = url.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/');
            if rest.contains('/') {
                return refuse("base-urls", &format!("{url:?}"), "must have no path such as `/v1`");
            }
        }
        if !(1..=86_400).contains(&self.load_timeout_secs) {
            let allowed = "must be between 1 and 86400";
            return refuse("load-timeout-secs", &self.load_timeout_secs, allowed);
        }
        if !(self.max_logprob_gap > 0.0 && self.max_logprob_gap <= 10.0) {
            return refuse(
                "max-logprob-gap",
                &self.max_logprob_gap,
                "must be above 0 and up to 10",
            );
        }
        // The other settings have the ranges of an endpoint.
        self.transport_config(&self.base_urls).validate()
    }

    /// Returns the key from the variable that `key-env` names; see [`Config::key`].
    ///
    /// # Errors
    ///
    /// Those of [`Config::key`].
    pub fn key(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, Error> {
        self.transport_config(&self.base_urls).key(lookup)
    }

    /// Returns the settings of calls to `base_urls`.
    pub(super) fn transport_config(&self, base_urls: &[String]) -> Config {
        Config {
            base_urls: base_urls.to_vec(),
            model: self.model.clone().unwrap_or_else(|| "the base model".to_owned()),
            key_env: self.key_env.clone(),
            concurrency: self.concurrency,
            timeout_secs: self.timeout_secs,
            max_retries: self.max_retries,
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_named_with_what_is_allowed() {
        let valid = RolloutServersConfig {
            server: Some(ServerKind::Vllm),
            base_urls: vec!["http://node1:8000".to_owned(), "http://node2:8000/".to_owned()],
            weights_dir: "/shared/weights".into(),
            ..RolloutServersConfig::default()
        };
        assert!(valid.validate().is_ok());
        let url =
            |url: &str| RolloutServersConfig { base_urls: vec![url.to_owned()], ..valid.clone() };
        let wrong = [
            RolloutServersConfig { server: None, ..valid.clone() },
            RolloutServersConfig { base_urls: vec![], ..valid.clone() },
            url("http://node1:8000/v1"),
            url("node1:8000"),
            url("http://me:secret@node1"),
            RolloutServersConfig { weights_dir: PathBuf::new(), ..valid.clone() },
            RolloutServersConfig { concurrency: 0, ..valid.clone() },
            RolloutServersConfig { load_timeout_secs: 0, ..valid.clone() },
            RolloutServersConfig { max_logprob_gap: f64::NAN, ..valid.clone() },
        ];
        let messages: Vec<_> =
            wrong.iter().map(|config| config.validate().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        use endpoint setting `server = ""`: must be `vllm` or `sglang`
        use endpoint setting `base-urls = []`: give at least one address
        use endpoint setting `base-urls = "http://node1:8000/v1"`: must have no path such as `/v1`
        use endpoint setting `base-urls = "node1:8000"`: an address is `http://` or `https://`, a host and a path, without query or fragment
        use endpoint setting `base-urls = (not shown)`: an address must not have a user name or password; put the key into the variable that `key-env` names
        use endpoint setting `weights-dir = ""`: give a folder that trainer and servers see under the same path
        use endpoint setting `concurrency = 0`: must be between 1 and 1024
        use endpoint setting `load-timeout-secs = 0`: must be between 1 and 86400
        use endpoint setting `max-logprob-gap = NaN`: must be above 0 and up to 10
        "#);
    }
}
