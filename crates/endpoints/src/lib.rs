//! The generation port over an OpenAI-compatible HTTP API.
//!
//! An [`Endpoint`] answers ([`Generator`](preceptor_core::Generator)) and, where its server echoes
//! prompts with log-probabilities, scores ([`Scorer`](preceptor_core::Scorer)). It serves as policy,
//! anchor or judge. One rollout is one call, on one of `concurrency` threads.
//!
//! ```text
//! rollout --request--> budget --> pacing --> transport --> server
//!    ^                                           |
//!    +-- reply: text, finish, usage <-- 2xx -----+---- refusal: data, again later, or stop
//! ```
//!
//! **Data and errors.** A call that fails after its retries is a
//! [`CallFailure`](preceptor_core::CallFailure), passed to the observer; its rollout is missing. A
//! prompt that exceeds the context window and a refusal are rollouts with that finish reason. A
//! wrong key, an unknown model and an empty account stop the run, since no other call could
//! succeed.
//!
//! **Reasoning.** Reasoning that the server returns separately (`reasoning_content`, `reasoning`, parts of
//! the kind `thinking`) is put before the content as a thought, `<think>..</think>`, as a server without a
//! reasoning parser returns it. It is stored and counted; other models are shown the text without thoughts.
//!
//! **Secrets.** The key comes from an environment variable only, which the caller looks up. It is
//! never shown, and removed from all text that a server returns. The HTTP library writes raw
//! headers to the log at the level `trace`; this crate's manifest switches that level off in the
//! whole binary.

mod budget;
mod call;
mod clock;
mod config;
mod dialect;
mod draw;
mod endpoint;
mod error;
mod error_body;
mod halt;
mod pacing;
mod reply;
mod request;
mod retry;
pub mod rollout_servers;
mod score;
mod secret;
mod spread;
mod transport;

pub use budget::Spent;
pub use config::Config;
pub use dialect::Dialect;
pub use endpoint::Endpoint;
pub use error::Error;
pub use rollout_servers::RolloutServersConfig;
pub use secret::Secret;
