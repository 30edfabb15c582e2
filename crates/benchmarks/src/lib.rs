//! Tasks with labels, their loaders and graders.
//!
//! This crate is the side of the label firewall that knows labels: [`Label`] is defined here, and
//! the crates that estimate, reward and train can't name it. They receive a
//! [`preceptor_core::Prompt`] from this crate. [`oracle`] holds the upper bounds that do see labels
//! and are marked so.
//!
//! Each benchmark is one file: a `Config`, its table in the manifest, that describes itself
//! ([`preceptor_core::Settings`]) and loads a [`TaskSet`] ([`Benchmark`]).

pub mod aime;
pub mod amc;
pub mod arithmetic;
pub mod gsm8k;
pub mod healthbench;
pub mod healthbench_strict;
pub mod jsonl;
pub mod jsonl_rubric;
pub mod math500;
pub mod oracle;
pub mod pocket_health;
pub mod pocket_math;
pub mod pocket_rules;

mod asking;
mod benchmark;
mod error;
mod grade;
mod grader;
mod label;
mod number;
mod rows;
mod rubric_rows;
mod task;
mod wording;

pub use benchmark::Benchmark;
pub use error::Error;
pub use grade::{Graded, grade};
pub use grader::{Grader, UnknownGrader};
pub use label::{Label, PhysicianRubric};
pub use task::{Data, Task, TaskSet};
pub use wording::Wording;
