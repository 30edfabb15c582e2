//! What a server answers, and what a rollout is made of.

use preceptor_core::{FinishReason, Sampling, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::Config;

/// The body of a 2xx reply, to `/chat/completions` and `/completions` alike. Unknown fields are
/// not looked at; `reasoning_content` and `reasoning` are among them.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    choices: Vec<Choice>,
    usage: Option<ReportedUsage>,
}

#[derive(Debug, Deserialize)]
struct ReportedUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    text: Option<String>,
    message: Option<ChatMessage>,
    finish_reason: Option<String>,
    /// vLLM's: the stop string or token that ended it.
    stop_reason: Option<Value>,
    pub logprobs: Option<Logprobs>,
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    content: Option<Content>,
    refusal: Option<String>,
}

/// A chat's text, whole or in parts.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
struct Content(String);

impl From<Value> for Content {
    /// Parts of other kinds than `text`, such as `thinking`, are not the text.
    fn from(value: Value) -> Self {
        let texts = match value {
            Value::String(text) => return Self(text),
            Value::Array(parts) => parts,
            _ => Vec::new(),
        };
        let is_text = |part: &&Value| part.get("type").and_then(Value::as_str) == Some("text");
        let texts = texts.iter().filter(is_text).filter_map(|part| part.get("text")?.as_str());
        Self(texts.collect())
    }
}

/// Log-probabilities, in the form of chats or of completions.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Logprobs {
    content: Option<Vec<TokenLogprob>>,
    pub tokens: Option<Vec<String>>,
    pub token_logprobs: Option<Vec<Option<f64>>>,
    /// Where each token begins, in characters.
    pub text_offset: Option<Vec<i64>>,
}

#[derive(Debug, Deserialize)]
struct TokenLogprob {
    logprob: Option<f64>,
}

impl Logprobs {
    /// One number for each sampled token; none if any is missing.
    fn sampled(&self) -> Vec<f32> {
        let numbers: Option<Vec<f32>> = if let Some(content) = &self.content {
            content.iter().map(|token| token.logprob.map(narrow)).collect()
        } else {
            let numbers = self.token_logprobs.iter().flatten();
            numbers.map(|number| number.map(narrow)).collect()
        };
        numbers.unwrap_or_default()
    }
}

/// The nearest finite `f32`.
pub(crate) fn narrow(logprob: f64) -> f32 {
    logprob.max(f64::from(f32::MIN)) as f32
}

/// What a rollout is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub text: String,
    pub finish: FinishReason,
    pub logprobs: Vec<f32>,
    pub usage: Option<Usage>,
}

impl Reply {
    pub(crate) fn read(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| {
            // Some gateways report errors with status 200.
            let json: Value = serde_json::from_str(body).unwrap_or_default();
            match json.get("error").filter(|error| !error.is_null()) {
                Some(error) => format!("an error instead of an answer: {error}"),
                None => format!("not an answer: {error}"),
            }
        })
    }

    /// Tokens as the server counts them, reasoning included.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = self.usage.as_ref()?;
        Some(Usage {
            num_prompt_tokens: usage.prompt_tokens.unwrap_or(0),
            num_generated_tokens: usage.completion_tokens?,
        })
    }

    /// The only choice.
    pub(crate) fn choice(&self) -> Result<&Choice, String> {
        self.choices.first().ok_or_else(|| "an answer without choices".to_owned())
    }

    /// The answer, or what is wrong with it.
    pub(crate) fn answer(&self, config: &Config, sampling: &Sampling) -> Result<Answer, String> {
        let choice = self.choice()?;
        let usage = self.usage();
        let (text, refusal) = match (&choice.message, &choice.text) {
            (Some(message), _) => {
                let content = message.content.as_ref().map_or("", |content| content.0.as_str());
                (content, message.refusal.as_deref().filter(|refusal| !refusal.is_empty()))
            }
            (None, Some(text)) => (text.as_str(), None),
            (None, None) => return Err("a choice without `message` and `text`".to_owned()),
        };
        let reason = choice.finish_reason.as_deref();
        let mut finish = match reason {
            Some("stop" | "eos" | "eos_token") => match choice.stop_reason {
                Some(Value::String(_)) => FinishReason::StopString,
                _ => FinishReason::EndToken,
            },
            Some("stop_sequence") => FinishReason::StopString,
            Some("length") => length_finish(usage, config, sampling),
            Some("content_filter") => FinishReason::Refused,
            _ if refusal.is_some() => FinishReason::Refused,
            Some(other) => return Err(format!("an answer that ended by `{other}`")),
            None => return Err("an answer without `finish_reason`".to_owned()),
        };
        let mut text = text;
        let stops = sampling.stop.iter().filter(|stop| !stop.is_empty());
        if let Some(end) = stops.filter_map(|stop| text.find(stop.as_str())).min() {
            text = &text[..end];
            finish = FinishReason::StopString;
        }
        if let Some(refusal) = refusal {
            finish = FinishReason::Refused;
            if text.is_empty() {
                text = refusal;
            }
        }
        let logprobs = choice.logprobs.as_ref().map(Logprobs::sampled).unwrap_or_default();
        Ok(Answer { text: text.to_owned(), finish, logprobs, usage })
    }
}

/// Which limit was reached: a rollout with fewer tokens than it might have filled the window.
fn length_finish(usage: Option<Usage>, config: &Config, sampling: &Sampling) -> FinishReason {
    let Some(usage) = usage else { return FinishReason::MaxNewTokens };
    let all = usage.num_prompt_tokens + usage.num_generated_tokens;
    let fills = config.context_length.is_some_and(|window| all >= u64::from(window));
    if fills && usage.num_generated_tokens < u64::from(sampling.max_new_tokens) {
        FinishReason::ContextFull
    } else {
        FinishReason::MaxNewTokens
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: Value) -> Result<Answer, String> {
        let config = Config { context_length: Some(100), ..Config::default() };
        let sampling = Sampling { stop: vec!["END".to_owned()], ..Sampling::default() };
        Reply::read(&body.to_string())?.answer(&config, &sampling)
    }

    fn chat(message: Value, reason: &str) -> Answer {
        answer(json!({"choices": [{"message": message, "finish_reason": reason}]})).unwrap()
    }

    fn completion(mut choice: Value) -> Answer {
        choice["text"] = "4".into();
        answer(json!({"choices": [choice]})).unwrap()
    }

    #[test]
    fn reasoning_is_kept_out_of_the_text() {
        for key in ["reasoning_content", "reasoning"] {
            let answer = chat(json!({"content": "4", key: "two and two"}), "stop");
            assert_eq!(answer.text, "4");
        }
        let parts = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}]);
        assert_eq!(chat(json!({"content": parts}), "stop").text, "4");
        // Cut off while it was still reasoning.
        let cut = chat(json!({"content": null, "reasoning": "two and"}), "length");
        assert_eq!((cut.text.as_str(), cut.finish), ("", FinishReason::MaxNewTokens));
    }

    #[test]
    fn finish_reasons_are_told_apart() {
        let finish = |choice| completion(choice).finish;
        let cases = [
            (json!({"finish_reason": "stop"}), FinishReason::EndToken),
            (json!({"finish_reason": "stop", "stop_reason": null}), FinishReason::EndToken),
            (json!({"finish_reason": "stop", "stop_reason": 128_009}), FinishReason::EndToken),
            (json!({"finish_reason": "stop", "stop_reason": "END"}), FinishReason::StopString),
            (json!({"finish_reason": "length"}), FinishReason::MaxNewTokens),
            (json!({"finish_reason": "content_filter"}), FinishReason::Refused),
        ];
        for (choice, wanted) in cases {
            assert_eq!(finish(choice.clone()), wanted, "{choice}");
        }
        let full = |prompt, generated| {
            let usage = json!({"prompt_tokens": prompt, "completion_tokens": generated});
            let choice = json!({"text": "4", "finish_reason": "length"});
            answer(json!({"choices": [choice], "usage": usage})).unwrap().finish
        };
        assert_eq!(full(60, 40), FinishReason::ContextFull);
        assert_eq!(full(10, 40), FinishReason::MaxNewTokens);
        assert_eq!(full(60, 512), FinishReason::MaxNewTokens);
    }

    #[test]
    fn a_refusal_is_refused_in_its_own_words() {
        let refusal = chat(json!({"content": null, "refusal": "I can't."}), "stop");
        assert_eq!((refusal.text.as_str(), refusal.finish), ("I can't.", FinishReason::Refused));
        let none = chat(json!({"content": "4", "refusal": null}), "stop");
        assert_eq!(none.finish, FinishReason::EndToken);
    }

    #[test]
    fn a_stop_string_that_a_server_left_in_is_cut() {
        let answer = chat(json!({"content": "4 END and more END"}), "stop");
        assert_eq!((answer.text.as_str(), answer.finish), ("4 ", FinishReason::StopString));
    }

    #[test]
    fn log_probabilities_come_in_two_forms() {
        let content = json!({"content": [{"token": "4", "logprob": -0.5, "bytes": [52]}]});
        let tokens = json!({"tokens": ["4"], "token_logprobs": [-0.5], "text_offset": [0]});
        for logprobs in [content, tokens] {
            let choice = json!({"finish_reason": "stop", "logprobs": logprobs});
            assert_eq!(completion(choice).logprobs, [-0.5]);
        }
        for none in [json!(null), json!({"content": null}), json!({"token_logprobs": [null, -1]})] {
            let choice = json!({"finish_reason": "stop", "logprobs": none});
            assert!(completion(choice).logprobs.is_empty());
        }
        assert_eq!(narrow(-1e300), f32::MIN);
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let wrong = [
            json!({}),
            json!({"choices": []}),
            json!({"choices": [{"finish_reason": "stop"}]}),
            json!({"choices": [{"text": "4"}]}),
            json!({"choices": [{"text": "4", "finish_reason": "abort"}]}),
            json!({"choices": null, "error": {"message": "upstream is down"}}),
            json!("choices"),
        ];
        let messages: Vec<_> = wrong.into_iter().map(|body| answer(body).unwrap_err()).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        not an answer: missing field `choices` at line 1 column 2
        an answer without choices
        a choice without `message` and `text`
        an answer without `finish_reason`
        an answer that ended by `abort`
        an error instead of an answer: {"message":"upstream is down"}
        not an answer: invalid type: string "choices", expected struct Reply at line 1 column 9
        "#);
    }
}
