//! Rows of a training pass: segments, and groups of segments that share a prompt.

/// Consecutive rows of a pass: a whole sequence, or the continuation of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of rows.
    pub len: usize,
    /// The index of the segment that this one continues: an earlier one without parent.
    pub parent: Option<usize>,
}

/// Consecutive rows of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowSpan {
    /// The first row.
    pub(crate) first_row: usize,
    /// Number of rows.
    pub(crate) len: usize,
}

/// A prompt and its continuations, each of which attends to the prompt and to itself.
#[derive(Clone, Debug)]
pub(crate) struct PromptGroup {
    /// The rows that all attend to.
    pub(crate) prompt: RowSpan,
    /// The rows of each continuation.
    pub(crate) continuations: Vec<RowSpan>,
}
