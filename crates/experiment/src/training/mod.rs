//! Training a policy: the loop, its steps and their records.
//!
//! A trained cell is a cell whose policy is the one after training. Its weights are named by what the
//! training run depends on and by the step, so records of every policy on the way are kept apart, and
//! evaluations of them are stages as any other. The evaluation before the first step is that of the
//! initial policy, which all cells share.

mod estimated;
mod evaluations;
mod events;
mod measures;
mod order;
mod phases;
mod records;
pub(crate) mod run;
mod served;
mod step;
mod targets;
