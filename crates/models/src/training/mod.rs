//! Training: weights under autodiff, passes of an update, adapters and export.

mod adapter;
mod export;
mod gradient_sums;
mod group_batch;
mod pass;
mod trainable;

pub use export::write_safetensors;
pub use gradient_sums::GradientSums;
pub use group_batch::{GroupBatch, TokenGroup, sequence_logits};
pub use pass::{LayerStates, Pass};
pub use trainable::{Graph, Parameter, Trainable};
