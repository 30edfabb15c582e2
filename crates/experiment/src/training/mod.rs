//! Cells whose policy is trained: what `[train]` says, what follows from it, the loop.
//!
//! A trained cell is a cell whose policy is the one after training. Its weights are named by what the
//! training depends on and by the step, so records of every policy on the way are kept apart, and
//! evaluations of them are stages as any other. The evaluation before the first step is that of the
//! initial policy, which all cells share.

mod course;
mod demand;
mod estimated;
mod evaluation;
mod events;
mod export;
mod measures;
mod order;
mod records;
mod resolve;
mod resolved;
mod run;
mod settings;
mod step;
mod targets;

pub(crate) use course::Course;
pub use demand::{Speed, TrainDemand, calibrate_speed};
pub use export::{Exported, export};
pub(crate) use resolve::{check_sampling, check_splits, check_train, train_cell};
pub(crate) use resolved::Training;
pub(crate) use run::{TrainRun, Trained};
pub(crate) use settings::read_train;
pub use settings::{EarlyStopping, Metric, OldLogprobs, TrainSettings, Truncated};
