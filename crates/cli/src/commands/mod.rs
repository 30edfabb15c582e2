//! The commands, one a file: arguments, calls, output.

pub(crate) mod answers;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod estimate;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod files;
pub(crate) mod grade;
pub(crate) mod judge;
pub(crate) mod launch;
pub(crate) mod models;
pub(crate) mod parity;
pub(crate) mod plan;
pub(crate) mod pretrain;
pub(crate) mod records;
pub(crate) mod regrade;
pub(crate) mod report;
pub(crate) mod reproduce;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod suite_size;
