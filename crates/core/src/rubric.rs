//! Rubrics and their criteria, which a judge checks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Item of a rubric: a statement about a response that is true or false.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Criterion {
    /// The statement.
    pub text: String,
    /// Points when met; negative for something that a response should not do. Self-proposed
    /// criteria are worth 1 each.
    pub points: f64,
    /// Names the benchmark files it under, for example `axis:accuracy`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

impl Criterion {
    /// A criterion worth one point.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), points: 1.0, tags: BTreeSet::new() }
    }
}

/// A list of criteria.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rubric {
    /// The criteria, in order.
    pub criteria: Vec<Criterion>,
}
