//! Tests of the crate from outside: parity with references, gradients, the effect of every setting.

mod adamw;
mod checkpoints;
mod correction;
mod fixtures;
mod formats;
mod gradients;
mod micro_batches;
mod muon;
mod parity;
mod settings;
mod support;
