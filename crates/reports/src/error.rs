//! Errors of making a report.

use std::io;
use std::path::{Path, PathBuf};

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] preceptor_store::Error),
    /// A stage of the plan lacks a record.
    #[error("report on cell `{cell}`: {what} is not in the store\nhint: run the experiment first")]
    Incomplete {
        /// The cell.
        cell: String,
        /// The missing record.
        what: String,
    },
    /// A file could not be read.
    #[error("read `{}`: {detail}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        detail: String,
    },
    /// A file could not be written.
    #[error("write `{}`\nhint: name another folder with `--reports DIR`", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A table could not be encoded.
    #[error("write table `{}`", path.display())]
    Table {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: Box<polars::error::PolarsError>,
    },
    /// A claim names something that no experiment has.
    #[error("test a claim on `{experiment}`: {detail}")]
    Claim {
        /// The experiment.
        experiment: String,
        /// The fault.
        detail: String,
    },
    /// A declared contrast names something that the plan does not have.
    #[error("compare in contrast `{name}`: `{key}`: {detail}\nhint: {hint}")]
    Contrast {
        /// The contrast.
        name: String,
        /// The key that can't be used.
        key: &'static str,
        /// The fault.
        detail: String,
        /// The allowed values.
        hint: String,
    },
    /// plotters could not draw a figure.
    #[error("draw a figure: {detail}")]
    Drawing {
        /// The reason.
        detail: String,
    },
    /// A figure could not be converted.
    #[error("draw `{}`: {detail}", path.display())]
    Figure {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        detail: String,
    },
}

impl Error {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }
}
