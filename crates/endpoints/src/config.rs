//! Settings of an endpoint.

use std::collections::BTreeMap;

use preceptor_core::{Digest, ModelIdentity, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget;
use crate::{Dialect, Error, Secret};

/// Fields that this client sets, or that would change the shape of the reply.
pub(crate) const OWN_KEYS: [&str; 16] = [
    "echo",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "min_p",
    "model",
    "n",
    "prompt",
    "seed",
    "stop",
    "stream",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
];

/// Settings of an [`Endpoint`](crate::Endpoint).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Addresses of the interface, for example `http://localhost:8000/v1`: `http://` or `https://`,
    /// without user names, queries or fragments. Calls go to several in turn, so all must serve the
    /// same model. Required; no default.
    pub base_urls: Vec<String>,
    /// The name by which the server knows the model. Required; no default.
    pub model: String,
    /// The server's variant of the interface: `openai`, `vllm`, `llama-cpp` or `ollama`. Default:
    /// `openai`, which adds nothing to the interface.
    pub dialect: Dialect,
    /// Name of the environment variable that holds the key; the key is stored nowhere else.
    /// Default: none, so no key is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The most concurrent calls, 1 to 1024. Default: 8 (our choice; local servers batch more).
    pub concurrency: u32,
    /// The most calls per minute, retries included, 1 or more. Calls are spread evenly. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// The most tokens per minute, prompt and generated, 1 or more. A call first counts with the
    /// most that it may need, later with its actual usage. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// The longest time to connect, in seconds, 1 to 3600. Default: 10 (our choice).
    pub connect_timeout_secs: u64,
    /// The longest time of a call from its start to the last byte of its answer, in seconds, 1 to
    /// 86400. Default: 600 (OpenAI's own clients).
    pub timeout_secs: u64,
    /// The number of retries of a failed call, 0 to 100. Default: 5 (our choice; OpenAI's own
    /// clients use 2, too few for a busy server).
    pub max_retries: u32,
    /// The wait before the first retry, in milliseconds, 0 to 60000; it doubles with each. Default:
    /// 500 (OpenAI's own clients).
    pub retry_base_millis: u64,
    /// The longest wait before a retry, in seconds, 0 to 3600, whatever a server asks for. Default:
    /// 60 (our choice: limits are counted by the minute).
    pub retry_max_secs: u64,
    /// Price in USD per million prompt tokens, 0 or more. Default: 0.
    pub prompt_price: f64,
    /// Price in USD per million generated tokens, 0 or more. Default: 0.
    pub generated_price: f64,
    /// The most that one process may spend, in USD, above 0; needs a price. A call that might exceed it
    /// is not sent. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// True to request the log-probabilities of sampled tokens. Default: false, since not every
    /// server returns them.
    pub logprobs: bool,
    /// True if the server scores given text: `/completions` with `echo` and `logprobs`. vLLM does,
    /// and llama-cpp-python with `logits_all`; llama.cpp's own server does not. Needs the dialect
    /// `vllm` or `llama-cpp`. Default: false.
    pub scoring: bool,
    /// The context window in tokens, 1 or more; tells rollouts that filled it from those that
    /// reached their limit. Default: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
    /// More fields of every call, as the server spells them, for example `reasoning_effort`. They
    /// are part of the model's identity. Fields that this client sets from the prompt, the sampling
    /// settings and the seed are not allowed. Default: none.
    pub extra: BTreeMap<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_urls: Vec::new(),
            model: String::new(),
            dialect: Dialect::OpenAi,
            key_env: None,
            concurrency: 8,
            requests_per_minute: None,
            tokens_per_minute: None,
            connect_timeout_secs: 10,
            timeout_secs: 600,
            max_retries: 5,
            retry_base_millis: 500,
            retry_max_secs: 60,
            prompt_price: 0.0,
            generated_price: 0.0,
            budget: None,
            logprobs: false,
            scoring: false,
            context_length: None,
            extra: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`Error::BadSetting`] names the first setting that can't be used, and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |fits: bool, key, value: &dyn std::fmt::Display, allowed| {
            if fits {
                return Ok(());
            }
            Err(Error::BadSetting { key, value: value.to_string(), allowed })
        };
        check(!self.base_urls.is_empty(), "base-urls", &"[]", "give at least one address")?;
        for url in &self.base_urls {
            let allowed = "an address is `http://` or `https://`, a host and a path, without query or fragment";
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let rest = rest.unwrap_or_default();
            // Text before an `@` may be a password: it is not shown.
            let host = rest.split('/').next().unwrap_or_default();
            let without = "an address must not have a user name or password; put the key into the variable that `key-env` names";
            check(!rest.contains('@'), "base-urls", &"(not shown)", without)?;
            let plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
            let fits = !host.is_empty() && plain && !rest.contains(['?', '#']);
            check(fits, "base-urls", &format!("{url:?}"), allowed)?;
        }
        let named = !self.model.trim().is_empty();
        check(
            named,
            "model",
            &format!("{:?}", self.model),
            "give the name by which the server knows the model",
        )?;
        if let Some(variable) = &self.key_env {
            let fits = !variable.is_empty() && !variable.contains(['=', '\0']);
            check(fits, "key-env", &format!("{variable:?}"), "give the name of a variable")?;
        }
        let ranges: [(&str, u64, u64, u64, &str); 6] = [
            ("concurrency", self.concurrency.into(), 1, 1024, "must be between 1 and 1024"),
            (
                "connect-timeout-secs",
                self.connect_timeout_secs,
                1,
                3600,
                "must be between 1 and 3600",
            ),
            ("timeout-secs", self.timeout_secs, 1, 86_400, "must be between 1 and 86400"),
            ("max-retries", self.max_retries.into(), 0, 100, "must be between 0 and 100"),
            ("retry-base-millis", self.retry_base_millis, 0, 60_000, "must be between 0 and 60000"),
            ("retry-max-secs", self.retry_max_secs, 0, 3600, "must be between 0 and 3600"),
        ];
        for (key, value, low, high, allowed) in ranges {
            check((low..=high).contains(&value), key, &value, allowed)?;
        }
        for (key, value) in [
            ("requests-per-minute", self.requests_per_minute),
            ("tokens-per-minute", self.tokens_per_minute),
            ("context-length", self.context_length),
        ] {
            check(value != Some(0), key, &0, "must be 1 or more; leave it out for no limit")?;
        }
        for (key, value) in
            [("prompt-price", self.prompt_price), ("generated-price", self.generated_price)]
        {
            check(value.is_finite() && value >= 0.0, key, &value, "must be 0 or more")?;
        }
        if let Some(budget) = self.budget {
            let fits = budget.is_finite() && budget > 0.0;
            check(fits, "budget", &budget, "must be more than 0; leave it out for no limit")?;
            let is_priced = self.price(Usage::default()).is_some();
            check(is_priced, "budget", &budget, "it needs `prompt-price` or `generated-price`")?;
        }
        let scores = !self.scoring || self.dialect.can_score();
        check(scores, "scoring", &true, "it needs the dialect `vllm` or `llama-cpp`")?;
        for key in self.extra.keys() {
            let allowed = "this client sets that field itself";
            check(
                !OWN_KEYS.contains(&key.as_str()),
                "extra",
                &format!("{{ {key} = .. }}"),
                allowed,
            )?;
        }
        Ok(())
    }

    /// Returns the key from the variable that `key-env` names; none without that setting.
    ///
    /// # Errors
    ///
    /// [`Error::NoKey`] if `lookup` does not know the variable, [`Error::BadKey`] if its value
    /// can't be a key.
    pub fn key(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Secret>, Error> {
        let Some(variable) = &self.key_env else { return Ok(None) };
        match lookup(variable) {
            Some(key) if !key.trim().is_empty() => Secret::new(key).map(Some),
            _ => Err(Error::NoKey { variable: variable.clone() }),
        }
    }

    /// Returns the cost of `usage` in USD; none without prices.
    pub fn price(&self, usage: Usage) -> Option<f64> {
        let is_priced = self.prompt_price > 0.0 || self.generated_price > 0.0;
        is_priced.then(|| budget::price(self.prompt_price, self.generated_price, usage))
    }

    /// Returns the model's identity in the store: its name and every setting that changes its
    /// answers. Addresses, keys, prices and limits are not part of it.
    pub fn identity(&self) -> ModelIdentity {
        let extra = sorted(&Value::Object(self.extra.clone().into_iter().collect())).to_string();
        let model = self.model.as_bytes();
        let dialect = self.dialect.name().as_bytes();
        ModelIdentity {
            weights: Digest::of_parts([
                b"remote model".as_slice(),
                model,
                dialect,
                extra.as_bytes(),
            ]),
            tokenizer: Digest::of_parts([b"remote tokenizer".as_slice(), model]),
            template: None,
            attested: false,
        }
    }
}

/// Sorts the keys of all tables in `value`.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(table) => {
            let ordered: BTreeMap<_, _> =
                table.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Config {
        Config {
            base_urls: vec!["http://localhost:8000/v1".to_owned()],
            model: "some/model".to_owned(),
            ..Config::default()
        }
    }

    fn from_toml(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_table_is_read_and_written_without_loss() {
        let config = from_toml(
            r#"
            base-urls = ["https://a.example/v1"]
            model = "m"
            dialect = "llama-cpp"
            key-env = "A_KEY"
            requests-per-minute = 60
            budget = 2.5
            generated-price = 0.6
            extra = { reasoning_effort = "low", chat_template_kwargs = { thinking = false } }
            "#,
        );
        assert!(config.validate().is_ok());
        assert_eq!(config.dialect, Dialect::LlamaCpp);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(from_toml(&text), config);
        let error = toml::from_str::<Config>("api-key = \"sk\"").unwrap_err();
        assert!(error.to_string().contains("unknown field `api-key`"), "{error}");
    }

    #[test]
    fn range_errors_name_key_value_and_allowed_values() {
        let url = |url: &str| Config { base_urls: vec![url.to_owned()], ..valid() };
        let extra = |key: &str| Config {
            extra: BTreeMap::from([(key.to_owned(), Value::from(1))]),
            ..valid()
        };
        let wrong = [
            Config::default(),
            url("localhost:8000"),
            url("http:///v1"),
            url("https://me:hunter2@host/v1"),
            url("https://host/v1?key=1"),
            Config { model: " ".to_owned(), ..valid() },
            Config { key_env: Some(String::new()), ..valid() },
            Config { concurrency: 0, ..valid() },
            Config { requests_per_minute: Some(0), ..valid() },
            Config { timeout_secs: 0, ..valid() },
            Config { retry_max_secs: 4000, ..valid() },
            Config { prompt_price: f64::NAN, ..valid() },
            Config { budget: Some(-1.0), generated_price: 1.0, ..valid() },
            Config { budget: Some(1.0), ..valid() },
            Config { scoring: true, ..valid() },
            extra("messages"),
            extra("temperature"),
        ];
        let messages: Vec<_> = wrong
            .iter()
            .map(|config| {
                let error = config.validate().unwrap_err();
                assert!(error.is_users_input());
                error.to_string()
            })
            .collect();
        assert!(!messages.concat().contains("hunter2"));
        insta::assert_snapshot!(messages.join("\n"), @r#"
        use endpoint setting `base-urls = []`: give at least one address
        use endpoint setting `base-urls = "localhost:8000"`: an address is `http://` or `https://`, a host and a path, without query or fragment
        use endpoint setting `base-urls = "http:///v1"`: an address is `http://` or `https://`, a host and a path, without query or fragment
        use endpoint setting `base-urls = (not shown)`: an address must not have a user name or password; put the key into the variable that `key-env` names
        use endpoint setting `base-urls = "https://host/v1?key=1"`: an address is `http://` or `https://`, a host and a path, without query or fragment
        use endpoint setting `model = " "`: give the name by which the server knows the model
        use endpoint setting `key-env = ""`: give the name of a variable
        use endpoint setting `concurrency = 0`: must be between 1 and 1024
        use endpoint setting `requests-per-minute = 0`: must be 1 or more; leave it out for no limit
        use endpoint setting `timeout-secs = 0`: must be between 1 and 86400
        use endpoint setting `retry-max-secs = 4000`: must be between 0 and 3600
        use endpoint setting `prompt-price = NaN`: must be 0 or more
        use endpoint setting `budget = -1`: must be more than 0; leave it out for no limit
        use endpoint setting `budget = 1`: it needs `prompt-price` or `generated-price`
        use endpoint setting `scoring = true`: it needs the dialect `vllm` or `llama-cpp`
        use endpoint setting `extra = { messages = .. }`: this client sets that field itself
        use endpoint setting `extra = { temperature = .. }`: this client sets that field itself
        "#);
        assert!(valid().validate().is_ok());
        assert!(extra("reasoning_effort").validate().is_ok());
    }

    #[test]
    fn a_price_is_for_a_million_tokens() {
        let usage = Usage { num_prompt_tokens: 500_000, num_generated_tokens: 2_000_000 };
        assert_eq!(valid().price(usage), None);
        let priced = Config { prompt_price: 0.5, generated_price: 2.0, ..valid() };
        assert_eq!(priced.price(usage), Some(4.25));
    }

    #[test]
    fn a_key_comes_from_the_named_variable_only() {
        let config = Config { key_env: Some("A_KEY".to_owned()), ..valid() };
        let lookup = |name: &str| (name == "A_KEY").then(|| "sk-0123456789".to_owned());
        assert_eq!(config.key(lookup).unwrap(), Some(Secret::new("sk-0123456789").unwrap()));
        assert_eq!(valid().key(lookup).unwrap(), None);
        for missing in [None, Some(String::new())] {
            let error = config.key(|_| missing.clone()).unwrap_err();
            assert!(!error.is_users_input());
            insta::allow_duplicates!(insta::assert_snapshot!(error, @"
            find the key of an endpoint: environment variable `A_KEY` is not set or empty
            hint: set it, or leave `key-env` out for servers without keys
            "));
        }
    }

    #[test]
    fn identity_covers_exactly_the_settings_that_change_answers() {
        let identity = valid().identity();
        assert!(!identity.attested);
        assert!(identity.takes_chat());
        let same = Config {
            base_urls: vec!["https://elsewhere/v1".to_owned()],
            key_env: Some("K".to_owned()),
            concurrency: 1,
            timeout_secs: 5,
            budget: Some(1.0),
            prompt_price: 3.0,
            logprobs: true,
            ..valid()
        };
        assert_eq!(same.identity(), identity);
        let effort = |level: &str| Config {
            extra: BTreeMap::from([("reasoning_effort".to_owned(), Value::from(level))]),
            ..valid()
        };
        let others = [
            Config { model: "other".to_owned(), ..valid() },
            Config { dialect: Dialect::Vllm, ..valid() },
            effort("low"),
            effort("high"),
        ];
        let digests: std::collections::BTreeSet<_> =
            others.iter().map(|config| config.identity().weights).collect();
        assert_eq!(digests.len(), 4);
        assert!(!digests.contains(&identity.weights));
    }
}
