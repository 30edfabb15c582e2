//! From a TOML document to a plan.

pub(crate) mod contrasts;
pub(crate) mod document;
pub(crate) mod endpoints;
pub(crate) mod estimate_settings;
pub(crate) mod grid;
pub(crate) mod launch;
pub(crate) mod point;
pub(crate) mod read;
pub(crate) mod resolve;
pub(crate) mod resolved_settings;
pub(crate) mod roles;
pub(crate) mod settings;
pub(crate) mod tasks;
pub(crate) mod train;
pub(crate) mod train_settings;
