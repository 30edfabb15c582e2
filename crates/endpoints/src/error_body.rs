//! Meanings of a server's error replies.
//!
//! | status | meaning |
//! |---|---|
//! | 401, 403; 402; 404 and redirects | the key, the account, the address or the model is wrong: stop |
//! | 400, 403, 422, 451 from moderation | a filter took the prompt |
//! | 429 with `insufficient_quota` | the account is empty: stop |
//! | any other with a known code or message | the prompt is too long, or a filter took it |
//! | 408, 409, 425, 429, 5xx | try again |
//! | 400, 413, 422 and the rest | this call is refused |

use preceptor_core::CallFailureKind;
use serde_json::Value;

/// Codes and types of errors for prompts that exceed the context window.
const TOO_LONG_CODES: [&str; 3] =
    ["context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"];

/// Parts of messages with that meaning, in lower case: OpenAI, vLLM (two), llama.cpp,
/// llama-cpp-python, SGLang, others.
const TOO_LONG_MESSAGES: [&str; 8] = [
    "maximum context length",
    "longer than the maximum model length",
    "exceeds the available context size",
    "exceed context window",
    "model's context length",
    "exceeds the context window",
    "exceeds the model's context",
    "prompt is too long",
];

/// Codes and types of errors for prompts that a content filter refused.
const FILTERED_CODES: [&str; 4] =
    ["content_filter", "content_policy_violation", "moderation_blocked", "content_moderation"];

/// Words in messages about such prompts, in lower case.
const FILTERED_WORDS: [&str; 7] = [
    "moderation",
    "flagged",
    "content policy",
    "content management policy",
    "usage polic",
    "safety system",
    "safety filter",
];

/// Words in messages about the account rather than the request.
const ACCOUNT_WORDS: [&str; 6] =
    ["api key", "api_key", "account", "organization", "organisation", "permission"];

/// Code of an account without credit.
const NO_CREDIT_CODE: &str = "insufficient_quota";

/// The consequence of a status other than 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The prompt exceeds the context window.
    PromptTooLong,
    /// A content filter refused the prompt.
    Filtered,
    /// A retry may succeed.
    Again(CallFailureKind),
    /// This call will fail, but others may succeed.
    Rejected,
    /// Every call will fail: the key is wrong.
    KeyRefused,
    /// Every call will fail: the account is empty.
    NoCredit,
    /// Every call will fail: the address or the model is wrong.
    NotFound,
}

/// A reply that is not an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorReply {
    pub meaning: Meaning,
    /// The server's message, word for word. It may hold a key.
    pub message: String,
}

impl ErrorReply {
    pub(crate) fn read(status: u16, body: &str) -> Self {
        let json: Value = serde_json::from_str(body).unwrap_or_default();
        // OpenAI nests, older vLLM does not, FastAPI calls it `detail`, Ollama once gave plain text.
        let error = json.get("error").unwrap_or(&json);
        let texts = |key| error.get(key).and_then(Value::as_str);
        let message = error.as_str().or(texts("message")).or(texts("detail"));
        let message = message.unwrap_or(body).trim().to_owned();
        let codes = [texts("code"), texts("type")];
        let has_code = |code: &str| codes.contains(&Some(code));
        let meaning = match status {
            400 | 403 | 422 | 451 if is_filtered(error, &has_code, &message) => Meaning::Filtered,
            401 | 403 => Meaning::KeyRefused,
            402 => Meaning::NoCredit,
            404 | 300..=399 => Meaning::NotFound,
            429 if has_code(NO_CREDIT_CODE) => Meaning::NoCredit,
            _ if FILTERED_CODES.into_iter().any(has_code) => Meaning::Filtered,
            _ if is_too_long(&has_code, &message) => Meaning::PromptTooLong,
            429 => Meaning::Again(CallFailureKind::RateLimited),
            408 => Meaning::Again(CallFailureKind::Timeout),
            409 | 425 | 500.. => Meaning::Again(CallFailureKind::ServerError),
            _ => Meaning::Rejected,
        };
        Self { meaning, message }
    }
}

/// Returns whether moderation refused the prompt: its code or findings are there, or the message
/// speaks of the prompt and not of the account.
fn is_filtered(error: &Value, has_code: &dyn Fn(&str) -> bool, message: &str) -> bool {
    let metadata = error.get("metadata");
    let has_findings = metadata.is_some_and(|found| found.get("flagged_input").is_some());
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    FILTERED_CODES.into_iter().any(has_code)
        || has_findings
        || (has(&FILTERED_WORDS) && !has(&ACCOUNT_WORDS))
}

/// Returns whether the prompt is too long. Servers use the same code where a prompt would fit but
/// leaves too little room for `max-new-tokens`; if the message says so, the settings are to blame.
fn is_too_long(has_code: &dyn Fn(&str) -> bool, message: &str) -> bool {
    let message = message.to_lowercase();
    let named = TOO_LONG_CODES.into_iter().any(has_code)
        || TOO_LONG_MESSAGES.iter().any(|known| message.contains(known));
    let window = number_after(&message, "maximum context length is ");
    let prompt = [" in the messages", " in the prompt", " in your prompt", " input tokens"]
        .iter()
        .find_map(|words| number_before(&message, words));
    named && !matches!((prompt, window), (Some(prompt), Some(window)) if prompt < window)
}

fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Returns the number before `words`, unless it is only a lower bound.
fn number_before(text: &str, words: &str) -> Option<u64> {
    let (before, _) = text.split_once(words)?;
    let rest = before.trim_end_matches(|c: char| c.is_ascii_digit());
    if rest.ends_with("at least ") {
        return None;
    }
    before[rest.len()..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Meaning {
        ErrorReply::read(status, body).meaning
    }

    #[test]
    fn prompts_that_are_too_long_are_known_from_many_servers() {
        for body in [
            r#"{"error": {"message": "too much", "code": "context_length_exceeded"}}"#,
            r#"{"error": {"code": 400, "type": "exceed_context_size_error",
                "message": "request (9412 tokens) exceeds the available context size (8192 tokens)"}}"#,
            r#"{"error": {"message": "This model's maximum context length is 4096 tokens. However, you
                requested 5100 tokens (5000 in the messages, 100 in the completion)."}}"#,
            r#"{"object": "error", "message": "The decoder prompt (length 700) is longer than the
                maximum model length of 512.", "code": 400}"#,
            r#"{"error": {"message": "This model's maximum context length is 16384 tokens. However, you
                requested 8192 output tokens and your prompt contains at least 8193 input tokens"}}"#,
            r#"{"detail": "Requested tokens (600) exceed context window of 512"}"#,
            "prompt is too long: 210000 tokens > 200000 maximum",
        ] {
            let body = body.replace("\n                ", " ");
            assert_eq!(meaning(400, &body), Meaning::PromptTooLong, "{body}");
        }
    }

    #[test]
    fn a_limit_that_leaves_no_room_is_the_settings_fault() {
        for message in [
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (900 in the messages, 4100 in the completion).",
            "This model's maximum context length is 512 tokens, however you requested 600 tokens (80 in your prompt; 520 for the completion).",
            "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 10 input tokens (5000 > 4096 - 10).",
        ] {
            let body = serde_json::json!({"error": {"message": message, "code": "context_length_exceeded"}});
            assert_eq!(meaning(400, &body.to_string()), Meaning::Rejected, "{message}");
        }
    }

    #[test]
    fn statuses_say_whether_to_try_again() {
        for status in [408, 409, 425, 429, 500, 502, 503, 504, 529] {
            assert!(matches!(meaning(status, "{}"), Meaning::Again(_)), "{status}");
        }
        for status in [400, 413, 422, 405, 418] {
            assert_eq!(meaning(status, "no"), Meaning::Rejected, "{status}");
        }
        for body in [
            r#"{"error": {"code": 403, "message": "Your input was flagged by moderation"}}"#,
            r#"{"error": {"message": "no", "metadata": {"flagged_input": "x"}}}"#,
            r#"{"error": {"message": "This request violates our content policy."}}"#,
            r#"{"error": {"message": "no", "code": "moderation_blocked"}}"#,
        ] {
            assert_eq!(meaning(403, body), Meaning::Filtered, "{body}");
            assert_eq!(meaning(400, body), Meaning::Filtered, "{body}");
        }
        for body in [
            "Forbidden",
            r#"{"error": {"message": "Incorrect API key provided"}}"#,
            r#"{"error": {"message": "Your account was flagged for unusual activity"}}"#,
        ] {
            assert_eq!(meaning(403, body), Meaning::KeyRefused, "{body}");
        }
        assert_eq!(meaning(401, ""), Meaning::KeyRefused);
        assert_eq!(meaning(403, "maximum context length"), Meaning::KeyRefused);
        assert_eq!(meaning(404, ""), Meaning::NotFound);
        assert_eq!(meaning(307, ""), Meaning::NotFound);
        assert_eq!(meaning(402, ""), Meaning::NoCredit);
        let empty = r#"{"error": {"code": "insufficient_quota", "message": "pay"}}"#;
        assert_eq!(meaning(429, empty), Meaning::NoCredit);
        let filtered = r#"{"error": {"code": "content_filter", "message": "no"}}"#;
        assert_eq!(meaning(400, filtered), Meaning::Filtered);
    }

    #[test]
    fn messages_are_found_in_all_their_places() {
        for body in [
            r#"{"error": {"message": "no luck"}}"#,
            r#"{"error": "no luck"}"#,
            r#"{"message": "no luck", "object": "error"}"#,
            r#"{"detail": "no luck"}"#,
            " no luck\n",
        ] {
            assert_eq!(ErrorReply::read(500, body).message, "no luck");
        }
    }
}
