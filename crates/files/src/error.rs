//! What can go wrong with files.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that no registry has.
    #[error(
        "find {what} `{name}`: no such name{}\nhint: known are {known}; a folder or file is named by its path",
        nearest.as_ref().map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
    )]
    UnknownName {
        /// `model` or `data set`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The known name that is most alike.
        nearest: Option<String>,
        /// All known names.
        known: String,
    },
    /// A known file that is not here.
    #[error("find {what} `{name}`: not fetched (looked for {looked_for})\nhint: {hint}")]
    NotFetched {
        /// `model` or `data set`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Every place that was tried.
        looked_for: String,
        /// What to do.
        hint: String,
    },
    /// A file that is not what it should be.
    #[error(
        "check `{}`: SHA-256 is {found}, but {expected} is {why}\nhint: the file was changed, cut short or is another version; move it away and fetch it again",
        path.display()
    )]
    WrongDigest {
        /// Which file.
        path: PathBuf,
        /// What it should have.
        expected: String,
        /// Where that is known from.
        why: &'static str,
        /// What it has.
        found: String,
    },
    /// A registry file that can't be understood.
    #[error("understand `{}`: {source}", path.display())]
    BadRegistry {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't be written.
    #[error("write `{}`\nhint: free space, or name another cache with PRECEPTOR_CACHE_DIR", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A download failed.
    #[error(
        "download `{url}`\nhint: without a network, put the file where `fetch` would and it is used as it is"
    )]
    Download {
        /// From where.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A hub does not give a file.
    #[error("download `{url}`: {detail}\nhint: {hint}")]
    Hub {
        /// From where.
        url: String,
        /// Why.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// `pip` is missing or failed.
    #[error("download Python package `{package}`: {detail}\nhint: {hint}")]
    Pip {
        /// Package and version.
        package: String,
        /// What pip said.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// A wheel that does not hold what it should.
    #[error("unpack `{}`: {detail}", path.display())]
    BadWheel {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }
}
