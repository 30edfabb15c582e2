//! Models by the names that manifests use.

pub(crate) mod directory;
pub(crate) mod host;
pub(crate) mod loader;
