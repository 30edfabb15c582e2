//! Filling the stages of a cell: rollouts, estimates, rewards and grades.

pub(crate) mod cached_model;
pub(crate) mod cell_run;
pub(crate) mod estimation;
pub(crate) mod grading;
pub(crate) mod model_pool;
pub(crate) mod rollouts;
pub(crate) mod seeds;
pub(crate) mod session;
pub(crate) mod stage_filler;
pub(crate) mod summary;
