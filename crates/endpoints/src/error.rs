//! Errors of an endpoint as a whole.

use preceptor_core::{CallFailure, PortError};

/// Error of this crate. Errors never show a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that can't be used.
    #[error("use endpoint setting `{key} = {value}`: {allowed}")]
    BadSetting {
        /// The key, as it is spelled in TOML.
        key: &'static str,
        /// The given value.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// The variable that should hold the key is not set.
    #[error(
        "find the key of an endpoint: environment variable `{variable}` is not set or empty\nhint: set it, or leave `key-env` out for servers without keys"
    )]
    NoKey {
        /// Name of the variable.
        variable: String,
    },
    /// The key has characters that a header can't hold.
    #[error(
        "use the key of an endpoint: it has characters that a key can't have\nhint: keys are printable ASCII without spaces"
    )]
    BadKey,
    /// The server does not accept the key.
    #[error(
        "call endpoint `{endpoint}` at {url}: the server refuses the key (HTTP {status}): {detail}\nhint: check the key in the variable that `key-env` names, and what it may use"
    )]
    KeyRefused {
        /// Name of the endpoint.
        endpoint: String,
        /// The address that was called.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The server's message.
        detail: String,
    },
    /// The account is empty.
    #[error(
        "call endpoint `{endpoint}` at {url}: the account has no credit left (HTTP {status}): {detail}\nhint: pay the provider, or use another key; what was drawn so far is kept"
    )]
    NoCredit {
        /// Name of the endpoint.
        endpoint: String,
        /// The address that was called.
        url: String,
        /// 402 or 429.
        status: u16,
        /// The server's message.
        detail: String,
    },
    /// The server has no such address or no such model.
    #[error(
        "call endpoint `{endpoint}` at {url}: not found (HTTP {status}): {detail}\nhint: check `model`, and `base-urls`: most servers want them to end in /v1"
    )]
    NotFound {
        /// Name of the endpoint.
        endpoint: String,
        /// The address that was called.
        url: String,
        /// 404, or a redirect.
        status: u16,
        /// The server's message.
        detail: String,
    },
    /// A rollout server refuses a call or fails.
    #[error("{action} at rollout server {url}: {detail}\nhint: {hint}")]
    RolloutServer {
        /// The failed action, as a verb.
        action: String,
        /// The address of the server.
        url: String,
        /// The server's message.
        detail: String,
        /// Advice.
        hint: String,
    },
    /// A continuation can't be scored.
    #[error("score at endpoint `{endpoint}`: {failure}")]
    Score {
        /// Name of the endpoint.
        endpoint: String,
        /// The failure.
        failure: CallFailure,
    },
}

impl Error {
    /// Returns whether the user's input is to blame rather than the environment.
    pub fn is_users_input(&self) -> bool {
        matches!(self, Self::BadSetting { .. })
    }
}

/// The component that port errors name.
pub(crate) const COMPONENT: &str = "the endpoint";

/// Wraps an error for a port.
pub(crate) fn failed(error: Error) -> PortError {
    PortError::Failed { component: COMPONENT, source: Box::new(error) }
}
