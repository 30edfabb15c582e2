//! Replies of a server, and the parts of a rollout read from them.

use preceptor_core::{FinishReason, Sampling, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::Config;

/// The body of a 2xx reply to `/chat/completions` or `/completions`. Unknown fields are ignored.
/// Optional fields of unknown form are dropped; a text of unknown form is an error, never an empty answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    text: Option<String>,
    message: Option<ChatMessage>,
    finish_reason: Option<String>,
    /// vLLM's: the stop string or token that ended it.
    stop_reason: Option<Value>,
    #[serde(default)]
    logprobs: Value,
}

#[derive(Debug, Deserialize)]
struct ChatMessage {
    content: Option<Content>,
    refusal: Option<String>,
    /// Reasoning that is returned apart from the text.
    #[serde(default)]
    reasoning_content: Value,
    #[serde(default)]
    reasoning: Value,
}

impl ChatMessage {
    /// Returns the text after its reasoning, which becomes a thought. Without a text the thought has not ended: a
    /// draft in it is no answer.
    fn after_thought(&self, text: &str) -> String {
        let apart = [&self.reasoning_content, &self.reasoning].map(Value::as_str);
        let in_parts = self.content.as_ref().map(|content| content.reasoning.as_str());
        let all = apart.into_iter().chain([in_parts]).flatten();
        let first = all.map(str::trim).find(|reasoning| !reasoning.is_empty());
        match first {
            None => text.to_owned(),
            Some(reasoning) if text.trim().is_empty() => format!("<think>\n{reasoning}"),
            Some(reasoning) => format!("<think>\n{reasoning}\n</think>\n\n{text}"),
        }
    }
}

/// The content of a chat, whole or in parts.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
struct Content {
    /// The text, or the fault in it.
    text: Result<String, String>,
    /// The parts that are reasoning.
    reasoning: String,
}

/// Kinds of parts that are the text.
const TEXT_PARTS: [&str; 2] = ["text", "output_text"];
/// Kinds of parts that are reasoning.
const REASONING_PARTS: [&str; 4] = ["thinking", "reasoning", "reasoning_text", "summary_text"];
/// Kinds of parts that are known to be neither.
const OTHER_PARTS: [&str; 2] = ["redacted_thinking", "refusal"];

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        let parts = match value {
            Value::Null => Vec::new(),
            Value::Array(parts) => parts,
            one => vec![one],
        };
        let reasoning = parts.iter().filter_map(part_reasoning).collect();
        Self { text: parts.iter().map(part_text).collect(), reasoning }
    }
}

/// Returns the reasoning of a part, which is in a field named like its kind or in `text`.
fn part_reasoning(part: &Value) -> Option<&str> {
    let kind = part.get("type")?.as_str().filter(|kind| REASONING_PARTS.contains(kind))?;
    part.get(kind).or_else(|| part.get("text"))?.as_str()
}

/// Returns the text of a part; empty for kinds that are not text.
fn part_text(part: &Value) -> Result<&str, String> {
    if let Value::String(text) = part {
        return Ok(text);
    }
    let kind = part.get("type").map(|kind| kind.as_str().unwrap_or_default());
    match (kind, part.get("text").and_then(Value::as_str)) {
        (Some(kind), _) if OTHER_PARTS.contains(&kind) || REASONING_PARTS.contains(&kind) => Ok(""),
        (Some(kind), Some(text)) if TEXT_PARTS.contains(&kind) => Ok(text),
        (None, Some(text)) => Ok(text),
        _ => {
            let shown: String = part.to_string().chars().take(200).collect();
            Err(format!("expected content that is text, found {shown}"))
        }
    }
}

/// Reads a number of tokens: whole and not negative, however it is written.
fn token_count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float = number.as_f64()?;
            (float >= 0.0 && float.fract() == 0.0 && float < 1e15).then_some(float as u64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The reason for the end of an answer, in the words of several interfaces.
enum Ending {
    Stop,
    StopString,
    Length,
    Refused,
}

impl Ending {
    fn read(reason: &str) -> Option<Self> {
        Some(match reason.to_ascii_lowercase().as_str() {
            "stop" | "eos" | "eos_token" | "end_turn" | "complete" | "completed" => Self::Stop,
            "stop_sequence" => Self::StopString,
            "length" | "max_tokens" | "max_output_tokens" | "max_new_tokens" | "model_length" => {
                Self::Length
            }
            "content_filter" | "safety" | "refusal" | "recitation" | "prohibited_content"
            | "blocklist" => Self::Refused,
            _ => return None,
        })
    }
}

impl Choice {
    /// Returns the log-probabilities; none where there are none in a known form.
    pub(crate) fn logprobs(&self) -> Option<Logprobs> {
        Logprobs::deserialize(&self.logprobs).ok()
    }
}

/// Log-probabilities, in the form of chats or of completions.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Logprobs {
    content: Option<Vec<TokenLogprob>>,
    pub tokens: Option<Vec<String>>,
    pub token_logprobs: Option<Vec<Option<f64>>>,
    /// The position of each token, in characters.
    pub text_offset: Option<Vec<i64>>,
}

#[derive(Debug, Deserialize)]
struct TokenLogprob {
    logprob: Option<f64>,
}

impl Logprobs {
    /// Returns a number for each sampled token; none if any is missing.
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

/// Returns the nearest finite `f32`.
pub(crate) fn narrow(logprob: f64) -> f32 {
    logprob.max(f64::from(f32::MIN)) as f32
}

/// The parts of a rollout that a reply holds.
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
                Some(error) => format!("expected an answer, found an error: {error}"),
                None => format!("not an answer: {error}"),
            }
        })
    }

    /// Tokens as the server counts them, reasoning included.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let count = |key| self.usage.get(key).and_then(token_count);
        Some(Usage {
            num_prompt_tokens: count("prompt_tokens").unwrap_or(0),
            num_generated_tokens: count("completion_tokens")?,
        })
    }

    /// Returns the only choice.
    pub(crate) fn choice(&self) -> Result<&Choice, String> {
        self.choices.first().ok_or_else(|| "an answer without choices".to_owned())
    }

    /// Returns the answer, or the fault in it.
    pub(crate) fn answer(&self, config: &Config, sampling: &Sampling) -> Result<Answer, String> {
        let choice = self.choice()?;
        let usage = self.usage();
        let (text, refusal) = match (&choice.message, &choice.text) {
            (Some(message), _) => {
                let content = message
                    .content
                    .as_ref()
                    .map_or(Ok(""), |content| content.text.as_deref().map_err(Clone::clone))?;
                (content, message.refusal.as_deref().filter(|refusal| !refusal.is_empty()))
            }
            (None, Some(text)) => (text.as_str(), None),
            (None, None) => return Err("a choice without `message` and `text`".to_owned()),
        };
        let reason = choice.finish_reason.as_deref();
        let mut finish = match reason.map(|reason| (reason, Ending::read(reason))) {
            Some((_, Some(Ending::Stop))) => match choice.stop_reason {
                Some(Value::String(_)) => FinishReason::StopString,
                _ => FinishReason::EndToken,
            },
            Some((_, Some(Ending::StopString))) => FinishReason::StopString,
            Some((_, Some(Ending::Length))) => length_finish(usage, config, sampling),
            Some((_, Some(Ending::Refused))) => FinishReason::Refused,
            _ if refusal.is_some() => FinishReason::Refused,
            Some((other, None)) => return Err(format!("an answer that ended by `{other}`")),
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
        let logprobs = choice.logprobs();
        if config.logprobs && logprobs.is_none() && !choice.logprobs.is_null() {
            return Err("log-probabilities of unknown form".to_owned());
        }
        let logprobs = logprobs.as_ref().map(Logprobs::sampled).unwrap_or_default();
        let message = choice.message.as_ref();
        let text = message.map_or_else(|| text.to_owned(), |message| message.after_thought(text));
        Ok(Answer { text, finish, logprobs, usage })
    }
}

/// Returns the limit that was reached: a rollout with fewer tokens than it might have filled the
/// window.
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
    fn reasoning_that_is_returned_apart_becomes_a_thought() {
        for key in ["reasoning_content", "reasoning"] {
            let answer = chat(json!({"content": "4", key: "two and two"}), "stop");
            assert_eq!(answer.text, "<think>\ntwo and two\n</think>\n\n4");
            for none in [json!(null), json!(""), json!({"summary": "auto"})] {
                assert_eq!(chat(json!({"content": "4", key: none}), "stop").text, "4");
            }
        }
        for part in [
            json!({"type": "thinking", "thinking": "hm"}),
            json!({"type": "reasoning", "text": "hm"}),
        ] {
            let parts = json!([part, {"type": "text", "text": "4"}]);
            let answer = chat(json!({"content": parts}), "stop");
            assert_eq!(answer.text, "<think>\nhm\n</think>\n\n4");
        }
        // Cut off while it was still reasoning.
        let cut = chat(json!({"content": null, "reasoning": "two and"}), "length");
        assert_eq!(cut.text, "<think>\ntwo and");
        assert_eq!(cut.finish, FinishReason::MaxNewTokens);
    }

    #[test]
    fn a_text_is_read_in_every_known_form_and_never_lost() {
        for content in [
            json!("4"),
            json!({"type": "text", "text": "4"}),
            json!({"text": "4"}),
            json!([{"type": "output_text", "text": "4", "annotations": []}]),
            json!(["4"]),
            json!([{"type": "refusal", "refusal": ""}, {"type": "output_text", "text": "4"}]),
        ] {
            assert_eq!(chat(json!({"content": content}), "stop").text, "4", "{content}");
        }
        for content in [json!(4), json!(true), json!({"answer": "4"}), json!([{"type": "image"}])] {
            let choice = json!({"message": {"content": content}, "finish_reason": "stop"});
            let error = answer(json!({"choices": [choice]})).unwrap_err();
            assert!(error.starts_with("expected content that is text"), "{error}");
        }
    }

    #[test]
    fn optional_fields_in_no_known_form_are_left_out() {
        let with_usage = |usage: Value| {
            let choice = json!({"text": "4", "finish_reason": "stop"});
            answer(json!({"choices": [choice], "usage": usage})).unwrap().usage
        };
        let seven_and_five = Some(Usage { num_prompt_tokens: 7, num_generated_tokens: 5 });
        for usage in [
            json!({"prompt_tokens": 7.0, "completion_tokens": 5.0}),
            json!({"prompt_tokens": "7", "completion_tokens": "5"}),
        ] {
            assert_eq!(with_usage(usage), seven_and_five);
        }
        for usage in [
            json!({"prompt_tokens": 7, "completion_tokens": -5}),
            json!({"prompt_tokens": 7, "completion_tokens": 5.5}),
            json!([]),
            json!("many"),
        ] {
            assert_eq!(with_usage(usage), None);
        }
        for logprobs in [json!([]), json!("none"), json!({"content": {}})] {
            let odd = json!({"text": "4", "finish_reason": "stop", "logprobs": logprobs});
            assert!(completion(odd.clone()).logprobs.is_empty());
            let asked = Config { logprobs: true, ..Config::default() };
            let reply = Reply::read(&json!({"choices": [odd]}).to_string()).unwrap();
            let error = reply.answer(&asked, &Sampling::default()).unwrap_err();
            assert_eq!(error, "log-probabilities of unknown form");
        }
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
            (json!({"finish_reason": "STOP"}), FinishReason::EndToken),
            (json!({"finish_reason": "end_turn"}), FinishReason::EndToken),
            (json!({"finish_reason": "MAX_TOKENS"}), FinishReason::MaxNewTokens),
            (json!({"finish_reason": "model_length"}), FinishReason::MaxNewTokens),
            (json!({"finish_reason": "SAFETY"}), FinishReason::Refused),
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
    fn replies_without_an_answer_are_reported() {
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
        expected an answer, found an error: {"message":"upstream is down"}
        not an answer: invalid type: string "choices", expected struct Reply at line 1 column 9
        "#);
    }
}
