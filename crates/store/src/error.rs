//! Errors of reading and writing records.

use std::io;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;

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
    /// Another process has taken over a claim of this one.
    #[error(
        "keep the claim on stage `{stage}`: {owner} has it\nhint: this process gave no sign of life for {secs} seconds, because it was suspended or cut off from the store; run the same command again"
    )]
    ClaimLost {
        /// The stage.
        stage: Digest,
        /// The process that has the claim now.
        owner: String,
        /// Seconds without a heartbeat after which a claim may be taken over.
        secs: f64,
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
