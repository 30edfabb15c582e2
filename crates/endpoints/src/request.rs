//! The body of a call.

use std::collections::BTreeMap;

use preceptor_core::{PromptBody, Sampling, Seed, Usage};
use serde_json::{Value, json};

use crate::config::sorted;
use crate::{Config, Dialect};

/// Tokens that a chat template may add around a chat and around each turn.
const TOKENS_PER_CHAT: u64 = 64;
const TOKENS_PER_TURN: u64 = 16;

/// Paths below the base URL.
pub(crate) const CHAT: &str = "/chat/completions";
pub(crate) const COMPLETIONS: &str = "/completions";

/// A call, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// [`CHAT`] or [`COMPLETIONS`].
    pub path: &'static str,
    /// JSON.
    pub body: String,
    /// The most tokens that it can use. There is no tokenizer here: a token has at least one byte.
    pub most: Usage,
    /// The seed of the jitter of its retries.
    pub seed: Seed,
}

impl Call {
    /// Draws one rollout.
    pub(crate) fn generation(
        config: &Config,
        prompt: &PromptBody,
        sampling: &Sampling,
        seed: Seed,
    ) -> Self {
        let dialect = config.dialect;
        let mut body = Body::new(config);
        let (path, num_prompt_tokens) = match prompt {
            PromptBody::Chat(messages) => {
                let turns = messages.iter().map(
                    |message| json!({"content": message.content, "role": message.role.as_str()}),
                );
                body.set("messages", turns.collect::<Vec<_>>());
                let bytes = messages.iter().map(|message| message.content.len() as u64);
                (CHAT, TOKENS_PER_CHAT + bytes.map(|bytes| bytes + TOKENS_PER_TURN).sum::<u64>())
            }
            PromptBody::Text(text) => {
                body.set("prompt", text.as_str());
                (COMPLETIONS, text.len() as u64 + 1)
            }
        };
        let limit = match (dialect, path) {
            (Dialect::OpenAi, CHAT) => "max_completion_tokens",
            _ => "max_tokens",
        };
        body.set(limit, sampling.max_new_tokens);
        body.set("seed", seed.to_u31());
        if !sampling.stop.is_empty() {
            body.set("stop", sampling.stop.as_slice());
        }
        // OpenAI's neutral values are its defaults, and some of its models refuse even those.
        if dialect != Dialect::OpenAi || sampling.temperature != 1.0 {
            body.set("temperature", sampling.temperature);
        }
        if dialect != Dialect::OpenAi || sampling.top_p != 1.0 {
            body.set("top_p", sampling.top_p);
        }
        if dialect.has_token_filters() {
            body.set("min_p", sampling.min_p);
        }
        match dialect {
            Dialect::OpenAi | Dialect::Ollama => {}
            Dialect::Vllm => {
                // Older versions know only -1 as "all".
                let all = sampling.top_k == 0;
                body.set("top_k", if all { -1 } else { i64::from(sampling.top_k) });
                body.set("repetition_penalty", 1.0);
            }
            Dialect::LlamaCpp => {
                body.set("top_k", sampling.top_k);
                body.set("repeat_penalty", 1.0);
                body.set("samplers", json!(["temperature", "top_k", "top_p", "min_p"]));
            }
        }
        if config.logprobs {
            match path {
                COMPLETIONS => body.set("logprobs", 1),
                _ => body.set("logprobs", true),
            }
            if dialect == Dialect::LlamaCpp && path == CHAT {
                // Without it, llama-cpp-python returns none and llama.cpp's server returns 20.
                body.set("top_logprobs", 1);
            }
        }
        let num_generated_tokens = sampling.max_new_tokens.into();
        let most = Usage { num_prompt_tokens, num_generated_tokens };
        Self { path, body: body.finish(config), most, seed }
    }

    /// Asks the server to return `text` with its log-probabilities.
    pub(crate) fn scoring(config: &Config, text: &str, seed: Seed) -> Self {
        // llama-cpp-python reads 0 as "no limit"; generated text beyond the prompt is ignored.
        let max_tokens = if config.dialect == Dialect::LlamaCpp { 1 } else { 0 };
        let mut body = Body::new(config);
        body.set("prompt", text);
        body.set("echo", true);
        body.set("logprobs", 1);
        body.set("max_tokens", max_tokens);
        body.set("temperature", 1.0);
        let num_prompt_tokens = text.len() as u64 + 1;
        let most = Usage { num_prompt_tokens, num_generated_tokens: max_tokens };
        Self { path: COMPLETIONS, body: body.finish(config), most, seed }
    }
}

/// Fields by name.
struct Body(BTreeMap<String, Value>);

impl Body {
    fn new(config: &Config) -> Self {
        Self(BTreeMap::from([("model".to_owned(), Value::from(config.model.as_str()))]))
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Adds the user's own fields; they were checked against `config::OWN_KEYS`.
    fn finish(mut self, config: &Config) -> String {
        for (key, value) in &config.extra {
            self.set(key, sorted(value));
        }
        Value::Object(self.0.into_iter().collect()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use preceptor_core::{Message, Role};

    use super::*;

    fn config(dialect: Dialect) -> Config {
        Config { model: "some/model".to_owned(), dialect, ..Config::default() }
    }

    fn chat() -> PromptBody {
        let turn = |role, content: &str| Message { role, content: content.to_owned() };
        PromptBody::Chat(vec![turn(Role::System, "Be brief."), turn(Role::User, "What is 2+2?")])
    }

    /// Formats the call with one field per line.
    fn shown(call: &Call) -> String {
        let fields: BTreeMap<String, Value> = serde_json::from_str(&call.body).unwrap();
        let fields = fields.iter().map(|(key, value)| format!("{key}: {value}"));
        let lines: Vec<_> = std::iter::once(call.path.to_owned()).chain(fields).collect();
        lines.join("\n")
    }

    /// Returns a chat with neutral settings, and a text with all of those that the dialect has.
    fn bodies(dialect: Dialect) -> String {
        let config = config(dialect);
        let seed = Seed::root(1);
        let neutral = Call::generation(&config, &chat(), &Sampling::default(), seed);
        let mut sampling = Sampling {
            temperature: 0.6,
            top_p: 0.95,
            max_new_tokens: 64,
            stop: vec!["\n\n".to_owned()],
            ..Sampling::default()
        };
        if dialect.has_token_filters() {
            sampling = Sampling { top_k: 20, min_p: 0.05, ..sampling };
        }
        let config = Config { logprobs: true, ..config };
        let text = PromptBody::Text("2+2=".to_owned());
        let all = Call::generation(&config, &text, &sampling, seed);
        let with_logprobs = Call::generation(&config, &chat(), &sampling, seed);
        [neutral, all, with_logprobs].map(|call| shown(&call)).join("\n\n")
    }

    #[test]
    fn openai_gets_only_fields_that_differ_from_its_defaults() {
        insta::assert_snapshot!(bodies(Dialect::OpenAi), @r#"
        /chat/completions
        max_completion_tokens: 512
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        model: "some/model"
        seed: 8980109

        /completions
        logprobs: 1
        max_tokens: 64
        model: "some/model"
        prompt: "2+2="
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_p: 0.95

        /chat/completions
        logprobs: true
        max_completion_tokens: 64
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        model: "some/model"
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_p: 0.95
        "#);
    }

    #[test]
    fn vllm_is_sent_everything_since_models_bring_their_own_defaults() {
        insta::assert_snapshot!(bodies(Dialect::Vllm), @r#"
        /chat/completions
        max_tokens: 512
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        min_p: 0.0
        model: "some/model"
        repetition_penalty: 1.0
        seed: 8980109
        temperature: 1.0
        top_k: -1
        top_p: 1.0

        /completions
        logprobs: 1
        max_tokens: 64
        min_p: 0.05
        model: "some/model"
        prompt: "2+2="
        repetition_penalty: 1.0
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_k: 20
        top_p: 0.95

        /chat/completions
        logprobs: true
        max_tokens: 64
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        min_p: 0.05
        model: "some/model"
        repetition_penalty: 1.0
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_k: 20
        top_p: 0.95
        "#);
    }

    #[test]
    fn llama_cpp_is_sent_everything_and_the_order_of_filters() {
        insta::assert_snapshot!(bodies(Dialect::LlamaCpp), @r#"
        /chat/completions
        max_tokens: 512
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        min_p: 0.0
        model: "some/model"
        repeat_penalty: 1.0
        samplers: ["temperature","top_k","top_p","min_p"]
        seed: 8980109
        temperature: 1.0
        top_k: 0
        top_p: 1.0

        /completions
        logprobs: 1
        max_tokens: 64
        min_p: 0.05
        model: "some/model"
        prompt: "2+2="
        repeat_penalty: 1.0
        samplers: ["temperature","top_k","top_p","min_p"]
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_k: 20
        top_p: 0.95

        /chat/completions
        logprobs: true
        max_tokens: 64
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        min_p: 0.05
        model: "some/model"
        repeat_penalty: 1.0
        samplers: ["temperature","top_k","top_p","min_p"]
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_k: 20
        top_logprobs: 1
        top_p: 0.95
        "#);
    }

    #[test]
    fn ollama_gets_only_fields_that_it_knows() {
        insta::assert_snapshot!(bodies(Dialect::Ollama), @r#"
        /chat/completions
        max_tokens: 512
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        model: "some/model"
        seed: 8980109
        temperature: 1.0
        top_p: 1.0

        /completions
        logprobs: 1
        max_tokens: 64
        model: "some/model"
        prompt: "2+2="
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_p: 0.95

        /chat/completions
        logprobs: true
        max_tokens: 64
        messages: [{"content":"Be brief.","role":"system"},{"content":"What is 2+2?","role":"user"}]
        model: "some/model"
        seed: 8980109
        stop: ["\n\n"]
        temperature: 0.6
        top_p: 0.95
        "#);
    }

    #[test]
    fn scoring_asks_for_the_prompt_back() {
        let body = |dialect| shown(&Call::scoring(&config(dialect), "2+2=4", Seed::root(1)));
        insta::assert_snapshot!(body(Dialect::Vllm), @r#"
        /completions
        echo: true
        logprobs: 1
        max_tokens: 0
        model: "some/model"
        prompt: "2+2=4"
        temperature: 1.0
        "#);
        insta::assert_snapshot!(body(Dialect::LlamaCpp), @r#"
        /completions
        echo: true
        logprobs: 1
        max_tokens: 1
        model: "some/model"
        prompt: "2+2=4"
        temperature: 1.0
        "#);
    }

    #[test]
    fn extra_fields_go_into_every_call_in_order() {
        let extra: BTreeMap<String, Value> = serde_json::from_str(
            r#"{"reasoning_effort": "low", "chat_template_kwargs": {"b": [{"d": 1, "c": 2}], "a": 1}}"#,
        )
        .unwrap();
        let config = Config { extra, ..config(Dialect::OpenAi) };
        let text = PromptBody::Text(String::new());
        let call = Call::generation(&config, &text, &Sampling::default(), Seed::root(1));
        insta::assert_snapshot!(shown(&call), @r#"
        /completions
        chat_template_kwargs: {"a":1,"b":[{"c":2,"d":1}]}
        max_tokens: 512
        model: "some/model"
        prompt: ""
        reasoning_effort: "low"
        seed: 8980109
        "#);
        let call = Call::scoring(&config, "", Seed::root(1));
        insta::assert_snapshot!(shown(&call), @r#"
        /completions
        chat_template_kwargs: {"a":1,"b":[{"c":2,"d":1}]}
        echo: true
        logprobs: 1
        max_tokens: 0
        model: "some/model"
        prompt: ""
        reasoning_effort: "low"
        temperature: 1.0
        "#);
    }

    #[test]
    fn seeds_of_a_group_are_sent_apart() {
        let call = |index| {
            let seed = Seed::root(3).derive("rollouts").derive_index(index);
            let config = config(Dialect::Vllm);
            Call::generation(&config, &chat(), &Sampling::default(), seed).body
        };
        let bodies: std::collections::BTreeSet<_> = (0..64).map(call).collect();
        assert_eq!(bodies.len(), 64);
    }
}
