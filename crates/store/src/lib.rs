//! Content-addressed records on disk.
//!
//! Every question to a model and its answer is a **record** in a **stage**. A stage's directory is
//! named by the digest of its canonical [`StageSpec`], that is, by the inputs of its records. Two
//! runs that would sample the same rollouts find the same stage, and nothing is sampled twice.
//!
//! ```text
//! <store>/format.json                     the store's format version
//! <store>/stages/<digest>/spec.json       what the stage holds
//!                        /part-<kernel>-0000.jsonl  appended by one writer, one record per line
//!                        /records.jsonl.zst  compacted records, while they are few
//!                        /segment-000000.jsonl.zst  compacted records that never change again
//!                        /*.keys          where segments have the record of a key
//!                        /cost.jsonl      what filling it cost, one line per run
//!                        /failures.json   keys that the last run could not make, and why
//! <store>/plans/<digest>.json             plans, for reports
//! <store>/leases/<digest>/000001.json     who works on a stage
//! ```
//!
//! - A line is `{"key":..,"check":..,"value":..}`; `check` covers key and value. A line that does
//!   not check, such as the torn last line of a killed writer, is not a record: it is counted and
//!   its work is done again.
//! - Every writer appends to a part of its own, made by exclusive creation; several processes may
//!   fill one stage. Keys that occur twice are one record.
//! - A compaction moves parts into `records.jsonl.zst`, and these into a segment once they are
//!   enough. So neither its time nor that of a search for some keys grows with the stage.
//! - A float that is NaN or infinite is never written: JSON has no spelling for it. A whole line whose
//!   value is not a record of the stage's type counts as missing, so its work is done again.
//! - A failed write is taken back: the part is cut to its last whole record.

mod claim;
mod error;
mod failures;
mod files;
mod fingerprint;
mod finite;
mod index;
mod kinds;
mod lease;
mod line;
mod machine;
mod segment;
mod spec;
mod stage;
mod tree;
mod verify;
mod whole_file;

pub use claim::Claim;
pub use error::Error;
pub use lease::{Holder, LeaseSettings};
pub use spec::StageSpec;
pub use stage::{Keys, Loaded, Stage, Writer};
pub use tree::Store;
pub use verify::{Finding, Verification};
pub use whole_file::replace_file;
