//! Errors of pretraining.

use std::io;
use std::path::PathBuf;

use preceptor_core::OutOfRange;

/// Error for a pretraining run that can't be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A setting is outside its range.
    #[error("use `{} = {}`: must be {}", .0.key, .0.value, .0.allowed)]
    OutOfRange(OutOfRange),
    /// The model can't be created, read or written.
    #[error(transparent)]
    Model(#[from] preceptor_models::Error),
    /// An update can't be computed.
    #[error(transparent)]
    Training(#[from] preceptor_trainer::Error),
    /// A checkpoint can't be written or read.
    #[error(transparent)]
    Checkpoint(#[from] preceptor_trainer::CheckpointError),
}
