//! Log-probabilities of given text, where a server echoes its prompt with them.
//!
//! Prompt and continuation are sent as one text, which the server tokenizes. Tokens that hold any
//! part of the continuation count, so a token that spans the border counts too. Token ids are not
//! returned.

use preceptor_core::{
    CallFailure, CallFailureKind, Continuation, PortError, PromptBody, ScoreRequest, Seed,
    TokenScores,
};

use crate::call::{Caller, End};
use crate::error::{COMPONENT, failed};
use crate::halt::Halt;
use crate::reply::{Logprobs, Reply, narrow};
use crate::request::Call;
use crate::spread::spread;
use crate::{Config, Error};

/// Prompt and continuation as one text.
#[derive(Debug)]
struct Joined<'a> {
    prompt: &'a str,
    continuation: &'a str,
}

pub(crate) fn score(
    name: &str,
    config: &Config,
    caller: &Caller,
    requests: &[ScoreRequest],
) -> Result<Vec<TokenScores>, PortError> {
    if !config.scoring {
        return unsupported(
            "the setting `scoring` is off; switch it on if the server returns prompts with log-probabilities (vLLM, llama-cpp-python)",
        );
    }
    let texts = requests.iter().map(Joined::new).collect::<Result<Vec<_>, _>>()?;
    let empty = TokenScores { token_ids: Vec::new(), logprobs: Vec::new() };
    let mut scores = vec![empty; requests.len()];
    let jobs: Vec<usize> =
        (0..texts.len()).filter(|number| !texts[*number].continuation.is_empty()).collect();
    let halt = Halt::default();
    let mut stopped = None;
    let work = |number: &usize| {
        let joined = &texts[*number];
        let text = [joined.prompt, joined.continuation].concat();
        let seed = Seed::root(0).derive("score").derive(&text);
        let call = Call::scoring(config, &text, seed);
        caller.call(&call, &halt, |reply| joined.logprobs(reply))
    };
    spread(&jobs, config.concurrency as usize, &halt, work, |job, end| {
        let error = match end {
            End::Answered(logprobs) => {
                scores[jobs[job]].logprobs = logprobs;
                return;
            }
            // The port's way to say that the text outgrows the context window.
            End::PromptTooLong | End::Halted => return,
            End::Filtered => {
                let kind = CallFailureKind::Rejected;
                let detail = "a content filter of the server refused the text".to_owned();
                Error::Score { endpoint: name.to_owned(), failure: CallFailure { kind, detail } }
            }
            End::Failed(failure) => Error::Score { endpoint: name.to_owned(), failure },
            End::Stop(error) => error,
        };
        halt.set();
        stopped.get_or_insert_with(|| failed(error));
    });
    match stopped {
        Some(error) => Err(error),
        None => Ok(scores),
    }
}

fn unsupported<T>(detail: &str) -> Result<T, PortError> {
    Err(PortError::Unsupported { component: COMPONENT, detail: detail.to_owned() })
}

impl<'a> Joined<'a> {
    fn new(request: &'a ScoreRequest) -> Result<Self, PortError> {
        let PromptBody::Text(prompt) = &request.prompt.body else {
            return unsupported(
                "only continuations of plain text can be scored; only the server knows the chat template",
            );
        };
        let Continuation::Text(continuation) = &request.continuation else {
            return unsupported("only continuations given as text can be scored, not as tokens");
        };
        Ok(Self { prompt, continuation })
    }

    /// Returns the log-probabilities of the continuation's tokens.
    fn logprobs(&self, reply: &Reply) -> Result<Vec<f32>, String> {
        let missing = || "expected the prompt's log-probabilities, found none".to_owned();
        let logprobs = reply.choice()?.logprobs().ok_or_else(missing)?;
        let Logprobs { tokens: Some(tokens), token_logprobs: Some(numbers), .. } = &logprobs else {
            return Err(missing());
        };
        let offsets = logprobs.text_offset.as_ref().ok_or_else(missing)?;
        if tokens.len() != numbers.len() || tokens.len() != offsets.len() {
            return Err(format!(
                "{} tokens with {} log-probabilities and {} offsets",
                tokens.len(),
                numbers.len(),
                offsets.len()
            ));
        }
        let shift = self.shift(tokens);
        let begin = self.prompt.chars().count() as i64 + shift;
        let end = begin + self.continuation.chars().count() as i64;
        let mut scored = Vec::new();
        for (number, offset) in offsets.iter().enumerate() {
            let width = tokens[number].chars().count() as i64;
            let next = offsets.get(number + 1).copied().unwrap_or(offset.saturating_add(width));
            // A token of part of a character may have no width.
            let holds_some = (*offset >= begin || next > begin) && *offset < end;
            if holds_some {
                let logprob = numbers[number].ok_or(
                    "the first token has no log-probability: the prompt must not be empty",
                )?;
                scored.push(narrow(logprob));
            }
        }
        if scored.is_empty() {
            return Err("expected tokens of the continuation, found none".to_owned());
        }
        Ok(scored)
    }

    /// Returns the number of characters before the text: some servers show the token that begins
    /// every text. None where tokens can't be read as text.
    fn shift(&self, tokens: &[String]) -> i64 {
        let whole = [self.prompt, self.continuation].concat();
        let shown = tokens.concat();
        shown.find(&whole).map_or(0, |place| shown[..place].chars().count() as i64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Scores `continuation` in a reply with these tokens, whose log-probabilities are -1, -2 and
    /// so on.
    fn scores(prompt: &str, continuation: &str, tokens: &[&str]) -> Result<Vec<f32>, String> {
        let mut offset = 0;
        let mut offsets = Vec::new();
        for token in tokens {
            offsets.push(offset);
            offset += token.chars().count();
        }
        let numbers = (0..tokens.len()).map(|number| match number {
            0 => Value::Null,
            _ => json!(-(number as f64)),
        });
        read(
            prompt,
            continuation,
            json!({
                "tokens": tokens,
                "token_logprobs": numbers.collect::<Vec<_>>(),
                "text_offset": offsets,
            }),
        )
    }

    fn read(prompt: &str, continuation: &str, logprobs: Value) -> Result<Vec<f32>, String> {
        let choice = json!({"text": "", "finish_reason": "length", "logprobs": logprobs});
        let reply = Reply::read(&json!({"choices": [choice]}).to_string())?;
        Joined { prompt, continuation }.logprobs(&reply)
    }

    #[test]
    fn tokens_after_the_prompt_count_and_those_drawn_behind_do_not() {
        assert_eq!(
            scores("2+2=", "4 ok", &["2+", "2=", "4", " ok", " more"]),
            Ok(vec![-2.0, -3.0])
        );
    }

    #[test]
    fn a_token_across_the_border_counts() {
        assert_eq!(scores("a ", "b c", &["a", " b", " c"]), Ok(vec![-1.0, -2.0]));
    }

    #[test]
    fn a_shown_begin_token_shifts_the_border() {
        let tokens = ["<s>", "2+2", "=", "4", " ok"];
        assert_eq!(scores("2+2=", "4 ok", &tokens), Ok(vec![-3.0, -4.0]));
    }

    #[test]
    fn offsets_count_characters_not_bytes() {
        assert_eq!(
            scores("\u{e4}\u{f6}=", "\u{fc}!", &["\u{e4}\u{f6}", "=", "\u{fc}", "!"]),
            Ok(vec![-2.0, -3.0])
        );
    }

    #[test]
    fn a_character_in_several_tokens_counts_with_all_of_them() {
        let logprobs = json!({
            "tokens": ["a", "bytes:\\xe2", "bytes:\\x82", "bytes:\\xac", "x"],
            "token_logprobs": [null, -1, -2, -3, -4],
            "text_offset": [0, 1, 1, 1, 2],
        });
        assert_eq!(read("a", "\u{20ac}", logprobs), Ok(vec![-1.0, -2.0, -3.0]));
    }

    #[test]
    fn replies_without_scores_are_named() {
        let uneven = json!({"tokens": ["a"], "token_logprobs": [], "text_offset": [0]});
        let messages = [
            read("a", "b", Value::Null).unwrap_err(),
            read("a", "b", json!({"content": []})).unwrap_err(),
            read("a", "b", uneven).unwrap_err(),
            scores("", "b", &["b"]).unwrap_err(),
            scores("abc", "d", &["a"]).unwrap_err(),
        ];
        insta::assert_snapshot!(messages.join("\n"), @"
        expected the prompt's log-probabilities, found none
        expected the prompt's log-probabilities, found none
        1 tokens with 0 log-probabilities and 1 offsets
        the first token has no log-probability: the prompt must not be empty
        expected tokens of the continuation, found none
        ");
    }
}
