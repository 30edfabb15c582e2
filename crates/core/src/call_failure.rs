//! A call to a model that did not succeed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kind of failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallFailureKind {
    /// The server asked to slow down, until retries ran out.
    RateLimited,
    /// The server failed.
    ServerError,
    /// The server refused this request.
    Rejected,
    /// There was no answer in time.
    Timeout,
    /// The connection failed or was cut.
    Connection,
    /// The answer is not what the interface promises.
    BadReply,
    /// The budget was spent before the call.
    BudgetSpent,
}

impl CallFailureKind {
    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate-limited",
            Self::ServerError => "server-error",
            Self::Rejected => "rejected",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::BadReply => "bad-reply",
            Self::BudgetSpent => "budget-spent",
        }
    }
}

/// A call that did not succeed, after its retries. It carries no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CallFailure {
    /// Kind of failure.
    pub kind: CallFailureKind,
    /// The details, for people.
    pub detail: String,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}
