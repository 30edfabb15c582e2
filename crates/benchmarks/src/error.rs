//! Errors of loading tasks.

use std::io;
use std::path::PathBuf;

use preceptor_core::OutOfRange;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data file can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A row does not match the benchmark's schema.
    #[error("read row {row} of `{}`: {detail}", path.display())]
    BadRow {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// The fault and the allowed value.
        detail: String,
    },
    /// The rows differ from the published ones.
    #[error(
        "check `{}`: its {num_rows} rows have canonical digest {found}, but the benchmark's is {expected}\nhint: this is another version of the data; results would carry the wrong name",
        path.display()
    )]
    WrongRows {
        /// The file.
        path: PathBuf,
        /// The number of rows that were found.
        num_rows: usize,
        /// The digest that was found.
        found: String,
        /// The expected digest.
        expected: &'static str,
    },
    /// Two rows have the same id.
    #[error("read row {row} of `{}`: its id `{id}` occurs before", path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// The id.
        id: String,
    },
    /// The prompts take no wording of the user.
    #[error(
        "word the prompts of `{benchmark}`: they are plain text, and only chats take `system-prompt` or `question-prompt-file`"
    )]
    PlainPrompts {
        /// The benchmark.
        benchmark: String,
    },
    /// A setting is outside its range.
    #[error("use `benchmark.{} = {}`: must be {}", .0.key, .0.value, .0.allowed)]
    OutOfRange(OutOfRange),
}

impl From<OutOfRange> for Error {
    fn from(error: OutOfRange) -> Self {
        Self::OutOfRange(error)
    }
}
