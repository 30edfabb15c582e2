//! GRPO and supervised fine-tuning, up to the model: advantages of rewards, objectives over
//! log-probabilities, schedules, the optimiser.
//!
//! An update is: [`reward_with_kl`] and [`advantages()`] of its groups, an [`Objective`] over micro-batches
//! whose gradients are added up, [`GradientNorm`] and [`clip_factor`], then [`AdamW`] at the rate of
//! a [`Schedule`]. [`warnings`] says which settings have no effect together. No function here can see a
//! label.

pub mod objective;
pub mod parity;
pub mod warnings;

mod advantages;
mod checkpoint;
mod error;
mod gradient_norm;
mod learner;
mod memory;
mod muon;
mod optimizer;
mod schedule;

pub use advantages::{
    Baseline, GroupAdvantages, Normalization, Signal, advantages, reward_with_kl,
};
pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints, Description};
pub use error::Error;
pub use gradient_norm::{GradientNorm, clip_factor};
pub use learner::{Group, Learner, Report};
pub use memory::{MemoryEstimate, MemoryInputs};
pub use muon::{Muon, MuonConfig, MuonUpdate};
pub use objective::{Batch, Divergence, Loss, Metrics, Objective, Sampled, Sequence, Totals};
pub use optimizer::{AdamW, AdamWConfig, Moments, OptimizerState, Parameter, Update};
pub use schedule::{Decay, Schedule, ScheduleConfig};
