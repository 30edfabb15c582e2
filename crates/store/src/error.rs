//! Errors of reading and writing records.

use std::io;
use std::path::{Path, PathBuf};

/// Error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A file or folder can't be written.
    #[error(
        "write `{}`\nhint: records written before stay valid; free space or name another store with `--store DIR`, then run the same command again",
        path.display()
    )]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A file has unexpected contents.
    #[error("understand `{}`: {detail}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// The fault, the allowed value and a hint.
        detail: String,
    },
    /// A record holds a float that JSON can't express.
    #[error(
        "write record `{key}` of stage `{stage}`: {detail}, expected finite numbers\nhint: nothing was stored; the model's weights or a reward are not finite"
    )]
    NotFinite {
        /// The kind of the stage.
        stage: String,
        /// The record's key.
        key: String,
        /// The field and its value.
        detail: String,
    },
    /// A value can't be written as JSON.
    #[error("turn record `{key}` into JSON")]
    Encode {
        /// The record's key.
        key: String,
        /// The underlying error.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Wraps a failed read of `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }

    /// Wraps a failed write to `path`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }
}
