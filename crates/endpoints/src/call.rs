//! A call from its first attempt to its end: budget, pacing, exchange, retries.

use std::time::Duration;

use preceptor_core::{CallFailure, CallFailureKind, Usage};

use crate::budget::{Purse, Settlement};
use crate::clock;
use crate::error_body::{ErrorReply, Meaning};
use crate::halt::Halt;
use crate::pacing::Pacing;
use crate::reply::Reply;
use crate::request::Call;
use crate::retry::Retry;
use crate::transport::{Exchange, Transport};
use crate::{Config, Error, Secret};

/// Longest part of a server's message that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// Bytes of a token of plain English; pacing starts from this and is corrected by what was used.
const BYTES_PER_TOKEN: u64 = 4;

/// The end of a call.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// With an answer.
    Answered(T),
    /// The prompt exceeds the context window.
    PromptTooLong,
    /// A content filter refused the prompt.
    Filtered,
    /// Without an answer.
    Failed(CallFailure),
    /// With an error that every other call would have too.
    Stop(Error),
    /// Before it was sent, because all calls were told to stop.
    Halted,
}

/// State that calls share.
#[derive(Debug)]
pub(crate) struct Caller {
    name: String,
    transport: Transport,
    key: Option<Secret>,
    retry: Retry,
    pacing: Pacing,
    pub(crate) purse: Purse,
}

/// The result of one attempt: an end, or a reason to retry.
enum Try<T> {
    Ended(End<T>),
    Again { failure: CallFailure, asked: Option<Duration> },
}

impl Caller {
    /// Creates a caller from validated settings.
    pub(crate) fn new(name: &str, config: &Config, key: Option<Secret>) -> Result<Self, Error> {
        Ok(Self {
            name: name.to_owned(),
            transport: Transport::new(config, key.as_ref())?,
            key,
            retry: Retry {
                max_retries: config.max_retries,
                base: Duration::from_millis(config.retry_base_millis),
                longest: Duration::from_secs(config.retry_max_secs),
            },
            pacing: Pacing::new(config.requests_per_minute, config.tokens_per_minute),
            purse: Purse::new(config.prompt_price, config.generated_price, config.budget),
        })
    }

    /// Returns `text` without the key.
    pub(crate) fn redact(&self, text: String) -> String {
        match &self.key {
            Some(key) => key.redact(text),
            None => text,
        }
    }

    /// Prepares a server's message for display. The key is removed before the cut, so that no part
    /// of it is left.
    fn shown(&self, message: String) -> String {
        let message = self.redact(message);
        // On a single line, so that no server can add lines to our output.
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        match message.char_indices().nth(MAX_MESSAGE_CHARS) {
            Some((end, _)) => format!("{}..", &message[..end]),
            None => message,
        }
    }

    fn failure(&self, kind: CallFailureKind, detail: String) -> CallFailure {
        CallFailure { kind, detail: self.shown(detail) }
    }

    /// Makes a call, with retries. `read` takes the answer from the reply; if it returns a fault,
    /// the call is retried. A call that ends in [`End::Stop`] halts all others.
    pub(crate) fn call<T>(
        &self,
        call: &Call,
        halt: &Halt,
        read: impl Fn(&Reply) -> Result<T, String>,
    ) -> End<T> {
        for tries in 1.. {
            let (mut failure, asked) = match self.attempt(call, halt, &read) {
                Try::Ended(end) => {
                    if matches!(end, End::Stop(_)) {
                        halt.set();
                    }
                    return end;
                }
                Try::Again { failure, asked } => (failure, asked),
            };
            let retry = tries - 1;
            if retry >= self.retry.max_retries {
                if retry > 0 {
                    failure.detail.push_str(&format!(" (tried {tries} times)"));
                }
                return End::Failed(failure);
            }
            if !halt.sleep(self.retry.wait(retry, &call.seed, asked)) {
                break;
            }
        }
        End::Halted
    }

    fn attempt<T>(
        &self,
        call: &Call,
        halt: &Halt,
        read: &impl Fn(&Reply) -> Result<T, String>,
    ) -> Try<T> {
        if !self.purse.reserve(call.most) {
            let detail =
                "the highest possible cost of the call exceeds the rest of the budget".to_owned();
            return Try::Ended(End::Failed(self.failure(CallFailureKind::BudgetSpent, detail)));
        }
        let most = call.most.num_prompt_tokens / BYTES_PER_TOKEN + call.most.num_generated_tokens;
        let wait = self.pacing.book(clock::now(), most);
        let (settlement, end) = if halt.sleep(wait) {
            match self.transport.post(call.path, &call.body) {
                Ok(exchange) => self.understand(exchange, read),
                Err(broken) => {
                    let failure = self.failure(broken.kind, broken.detail);
                    let settlement =
                        if broken.sent { Settlement::Unreported } else { Settlement::Free };
                    (settlement, Try::Again { failure, asked: None })
                }
            }
        } else {
            (Settlement::Free, Try::Ended(End::Halted))
        };
        self.purse.settle(call.most, settlement);
        let total = |usage: Usage| usage.num_prompt_tokens + usage.num_generated_tokens;
        match settlement {
            Settlement::Reported(usage) => self.pacing.correct(most, total(usage)),
            Settlement::Unreported => {}
            Settlement::Free => self.pacing.correct(most, 0),
        }
        end
    }

    fn understand<T>(
        &self,
        exchange: Exchange,
        read: &impl Fn(&Reply) -> Result<T, String>,
    ) -> (Settlement, Try<T>) {
        let Exchange { url, status, retry_after: asked, body } = exchange;
        if !(200..300).contains(&status) {
            let reply = ErrorReply::read(status, &body.unwrap_or_default());
            return (Settlement::Free, self.refused(url, status, asked, reply));
        }
        let body = match body {
            Ok(body) => body,
            Err(broken) => {
                let failure = self.failure(broken.kind, broken.detail);
                return (Settlement::Unreported, Try::Again { failure, asked });
            }
        };
        let reply = Reply::read(&body);
        let usage = reply.as_ref().ok().and_then(Reply::usage);
        let settlement = usage.map_or(Settlement::Unreported, Settlement::Reported);
        let end = match reply.and_then(|reply| read(&reply)) {
            Ok(answer) => Try::Ended(End::Answered(answer)),
            Err(detail) => {
                Try::Again { failure: self.failure(CallFailureKind::BadReply, detail), asked }
            }
        };
        (settlement, end)
    }

    fn refused<T>(
        &self,
        url: String,
        status: u16,
        asked: Option<Duration>,
        reply: ErrorReply,
    ) -> Try<T> {
        let endpoint = self.name.clone();
        let detail = self.shown(reply.message);
        let said = |kind| CallFailure { kind, detail: format!("HTTP {status}: {detail}") };
        Try::Ended(match reply.meaning {
            Meaning::Again(kind) => return Try::Again { failure: said(kind), asked },
            Meaning::PromptTooLong => End::PromptTooLong,
            Meaning::Filtered => End::Filtered,
            Meaning::Rejected => End::Failed(said(CallFailureKind::Rejected)),
            Meaning::KeyRefused => End::Stop(Error::KeyRefused { endpoint, url, status, detail }),
            Meaning::NoCredit => End::Stop(Error::NoCredit { endpoint, url, status, detail }),
            Meaning::NotFound => End::Stop(Error::NotFound { endpoint, url, status, detail }),
        })
    }
}
