//! Splits of a benchmark that a trained policy is evaluated on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Prompts that a trained policy is evaluated on.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The prompts that it is trained on, without their labels.
    #[default]
    TestTime,
    /// Prompts that training never uses.
    HeldOut,
    /// Prompts whose score or loss early stopping reads.
    Validation,
}

impl Split {
    /// Returns the name in manifests, records and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::TestTime => "test-time",
            Self::HeldOut => "held-out",
            Self::Validation => "validation",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
