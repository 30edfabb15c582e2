//! Labels of tasks.

use std::collections::BTreeSet;

use preceptor_core::Rubric;
use serde::{Deserialize, Serialize};

/// The physicians' rubric for a response, with the example's theme.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PhysicianRubric {
    /// The items with their points, negative ones among them.
    pub rubric: Rubric,
    /// Tags of the whole example, for example `theme:hedging`.
    pub example_tags: BTreeSet<String>,
}

/// The truth about a task, as the benchmark states it.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// The right final answer. It is a value, from which nothing is extracted: `\frac{1}{2}` is the
    /// label itself.
    Answer(String),
    /// The physicians' rubric for a good response.
    Rubric(PhysicianRubric),
}

impl Label {
    /// Returns the label with this final answer.
    pub fn new(answer: impl Into<String>) -> Self {
        Self::Answer(answer.into())
    }

    /// Returns the final answer, if the label is one.
    pub fn answer(&self) -> Option<&str> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Rubric(_) => None,
        }
    }

    /// Returns the rubric, if the label is one.
    pub fn rubric(&self) -> Option<&PhysicianRubric> {
        match self {
            Self::Answer(_) => None,
            Self::Rubric(rubric) => Some(rubric),
        }
    }

    /// Returns the label as one text: for pages, and for the digest of a set of labels.
    pub fn display_text(&self) -> String {
        match self {
            Self::Answer(answer) => answer.clone(),
            Self::Rubric(PhysicianRubric { rubric, example_tags }) => {
                let items = rubric.criteria.iter().map(|c| {
                    let tags = c.tags.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                    format!("[{}] {} ({tags})", c.points, c.text)
                });
                let tags = example_tags.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                items.chain([tags]).collect::<Vec<_>>().join("\n")
            }
        }
    }
}
