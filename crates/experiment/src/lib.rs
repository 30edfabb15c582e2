//! An experiment from its manifest to its records.
//!
//! ```text
//! FILE.toml --read--> Document --resolve--> Plan (cells, stages) --run--> records in the store
//! ```
//!
//! A [`Document`] is what the files and the command line say, with the place of every key. A
//! [`Plan`] has every value explicit, the matrix expanded and every cell and stage named by digest;
//! code past the plan never sees a manifest. [`run()`] fills the stages that are not full.

mod catalog;
mod document;
mod error;
mod grade_file;
mod grid;
mod model_host;
mod plan;
mod progress;
mod resolve;
mod run;
mod settings;
mod stages;
mod status;

pub use catalog::{AggregatorSettings, BenchmarkSettings, Entry};
pub use document::Document;
pub use error::{Error, ManifestError};
pub use grade_file::{FileGrade, grade_responses};
pub use model_host::{LocalModels, ModelHost};
pub use plan::{Cell, Plan, StageState, StageSummary};
pub use preceptor_stats::detectable_difference;
pub use progress::{NoProgress, Progress};
pub use resolve::{ResolveOptions, resolve};
pub use run::{RunOptions, RunSummary, run};
pub use settings::{GraderSettings, PolicySettings, SamplingSettings};
pub use status::{CellState, CellStatus, status};
