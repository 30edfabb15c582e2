//! An experiment from its manifest to its records.
//!
//! ```text
//! FILE.toml --read--> Document --resolve--> Plan (cells, stages) --run--> records in the store
//! ```
//!
//! A [`Document`] holds what the files and the command line say, with the position of every key. A
//! [`Plan`] has every value explicit, the matrix expanded and every cell and stage named by digest;
//! code past the plan never sees a manifest. [`run()`] fills the stages that are not full.
//!
//! Folders, from the last to the first in that order: `tools` (commands about a run), [`run()`] in
//! `runner`, `training` (the loop), `run` (the stages of a cell), `manifest`, `plan`, `models`.

mod catalog;
mod error;
mod manifest;
mod models;
mod plan;
mod progress;
mod run;
mod runner;
#[cfg(test)]
mod test_support;
mod tools;
mod training;

pub use catalog::{
    AggregatorSettings, BenchmarkSettings, Entry, JudgeSettings, ObjectiveSettings, RewardSettings,
};
pub use error::{Error, ManifestError};
pub use manifest::document::Document;
pub use manifest::endpoints::endpoints;
pub use manifest::estimate_settings::EstimateSettings;
pub use manifest::launch::{LaunchSettings, launch_settings, rollout_urls};
pub use manifest::resolve::{ResolveOptions, resolve};
pub use manifest::settings::{
    AnchorSettings, EvalJudgeSettings, GraderSettings, PolicySettings, SamplingSettings,
};
pub use manifest::tasks::BenchmarkScope;
pub use manifest::train_settings::{EarlyStopping, Metric, OldLogprobs, TrainSettings, Truncated};
pub use models::directory::ModelDirectory;
pub use models::host::Models;
pub use models::loader::ModelLoader;
pub use plan::cell::Cell;
pub use plan::counting::Counting;
pub use plan::estimate::Estimate;
pub use plan::held_weights::HeldWeights;
pub use plan::price::{CallDemand, Expense, Purpose};
pub use plan::price_training::{Speed, TrainDemand, calibrate_speed};
pub use plan::resolved::{Plan, StageState, StageSummary};
pub use plan::status::{CellState, CellStatus, status};
pub use plan::units::WorkUnit;
pub use preceptor_endpoints::{Config as EndpointConfig, RolloutServersConfig};
pub use preceptor_stats::detectable_difference;
pub use progress::{CellCounts, NoProgress, Progress, Unit};
pub use run::summary::{RoleCost, RunOptions, RunSummary, StopRequest};
pub use runner::run;
pub use tools::calibrate::{AnchorQuality, Calibration, JudgeQuality, calibrate};
pub use tools::compare::{Comparison, Side, compare};
pub use tools::export::{ExportedPolicy, export};
pub use tools::grade_responses::{FileGrade, benchmark_settings, grade_responses};
pub use tools::grade_verdicts::{VerdictGrade, grade_verdicts};
pub use tools::regrade::{RegradeReport, ValueChange, regraded};
pub use tools::show::{RelatedRecord, Relation, ShownRecord, show};
