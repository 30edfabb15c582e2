//! An experiment from its manifest to its records.
//!
//! ```text
//! FILE.toml --read--> Document --resolve--> Plan (cells, stages) --run--> records in the store
//! ```
//!
//! A [`Document`] is what the files and the command line say, with the place of every key. A
//! [`Plan`] has every value explicit, the matrix expanded and every cell and stage named by digest;
//! code past the plan never sees a manifest. [`run()`] fills the stages that are not full.

mod calibrate;
mod catalog;
mod compare;
mod contrasts;
mod demand;
mod document;
mod drawing;
mod error;
mod estimation;
mod fill;
mod grade_file;
mod grading;
mod grid;
mod model_host;
mod plan;
mod progress;
mod reading;
mod recorded_model;
mod regrade;
mod resolve;
mod roles;
mod run;
mod settings;
mod spending;
mod stages;
mod status;
mod task_tables;
mod training;
mod verdict_file;

pub use calibrate::{AnchorQuality, Calibration, JudgeQuality, calibrate};
pub use catalog::{
    AggregatorSettings, BenchmarkSettings, Entry, JudgeSettings, Needs, ObjectiveSettings,
    RewardSettings,
};
pub use compare::{Comparison, Side, compare};
pub use demand::{CallDemand, Expense, Purpose};
pub use document::Document;
pub use error::{Error, ManifestError};
pub use grade_file::{FileGrade, benchmark_settings, grade_responses};
pub use model_host::{ModelHost, Models};
pub use plan::{Cell, Plan, StageState, StageSummary};
pub use preceptor_stats::detectable_difference;
pub use progress::{NoProgress, Progress, Unit};
pub use recorded_model::RoleCost;
pub use regrade::{Moved, Regraded, regraded};
pub use resolve::{ResolveOptions, endpoints, resolve};
pub use run::{RunOptions, RunSummary, run};
pub use settings::{
    AnchorSettings, EvalJudgeSettings, GraderSettings, PolicySettings, SamplingSettings,
};
pub use status::{CellState, CellStatus, status};
pub use training::{
    EarlyStopping, Exported, Metric, OldLogprobs, Speed, TrainDemand, TrainSettings, Truncated,
    calibrate_speed, export,
};
pub use verdict_file::{VerdictGrade, grade_verdicts};
