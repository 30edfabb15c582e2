//! Model and data files: where they come from, whether they are the right ones, where they lie.
//!
//! A **registry** names models and data sets and says where each file is published and what its
//! SHA-256 is. Fetching puts a file into the cache whole or not at all, and only if its digest is
//! right; locating a file checks it again. With the files present nothing touches the network.

mod digest;
mod download;
mod error;
mod fetch;
mod hub;
mod places;
mod recorded;
mod registry;
mod shipped;
mod wheel;
mod wheel_file;

pub use digest::sha256_of_file;
pub use error::Error;
pub use fetch::{FileState, FileStatus, Files, LocatedFile};
pub use hub::{FetchProgress, OnFetch};
pub use places::{Hub, Places, Token};
pub use registry::{
    DataEntry, DataSource, HubFile, ModelEntry, ModelSource, Registry, SamplingDefaults,
};
