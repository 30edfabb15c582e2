//! A benchmark's truth.

/// The right final answer of a task, as the benchmark states it.
///
/// It is a value, never extracted again: `\frac{1}{2}` is the label itself, not text to search for
/// a label in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label(String);

impl Label {
    /// The label with this final answer.
    pub fn new(answer: impl Into<String>) -> Self {
        Self(answer.into())
    }

    /// The final answer.
    pub fn answer(&self) -> &str {
        &self.0
    }
}
