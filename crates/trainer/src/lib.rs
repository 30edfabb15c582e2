//! GRPO and supervised fine-tuning: advantages of rewards, objectives over log-probabilities, schedules
//! and optimisers.
//!
//! An update is: [`reward_with_kl`] and [`advantages()`] of its groups, an [`Objective`] over micro-batches
//! whose gradients are added up, [`GradientNorm`] and [`clip_factor`], then [`AdamW`] at the rate of
//! a [`Schedule`]. [`warnings`] lists settings that have no effect in their combination. No function of
//! this crate can access a label.

pub mod objective;
pub mod parity;
pub mod warnings;

mod adamw;
mod advantages;
mod checkpoint;
mod error;
mod gradient_norm;
mod learner;
mod memory;
mod muon;
mod optimizer;
mod schedule;

pub use adamw::{AdamW, AdamWConfig, Moments, OptimizerState, Parameter, Update};
pub use advantages::{
    Baseline, GroupAdvantages, Normalization, Signal, advantages, reward_with_kl,
};
pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints, Description};
pub use error::Error;
pub use gradient_norm::{GradientNorm, clip_factor};
pub use learner::{Group, Learner, Report};
pub use memory::{MemoryEstimate, MemoryInputs};
pub use muon::{Muon, MuonConfig, MuonUpdate};
pub use objective::{Batch, Divergence, Loss, Metrics, Objective, SampledData, Sequence, Totals};
pub use optimizer::OptimizerConfig;
pub use schedule::{Decay, Schedule, ScheduleConfig};
