//! Cells whose policy is trained: what `[train]` says, what follows from it, the loop.
//!
//! A trained cell is a cell whose policy is the one after training. Its weights are named by what the
//! training depends on and by the step, so records of every policy on the way are kept apart, and
//! evaluations of them are stages as any other. The evaluation before the first step is that of the
//! initial policy, which all cells share.

mod demand;
mod evaluation;
mod events;
mod export;
mod order;
mod resolve;
mod run;
mod settings;
mod step;

pub use demand::{Speed, TrainDemand, calibrate_speed};
pub(crate) use evaluation::Split;
pub use export::{Exported, export};
pub(crate) use resolve::{check_train, train_cell};
pub(crate) use run::TrainRun;
pub use settings::{EarlyStopping, TrainSettings, Truncated};
pub(crate) use settings::{Training, read_train};
