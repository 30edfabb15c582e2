//! Objectives, which training minimises: the plug point.
//!
//! An [`Objective`] turns the log-probabilities of a batch's completion tokens into a scalar with a
//! gradient. Every loss is a weighted sum of token terms; the weight of a token
//! ([`Aggregation`](grpo::Aggregation)) depends on the whole batch only through its [`Totals`]. So the
//! loss of a micro-batch is its share of the batch's loss: the shares, and their gradients, add up to
//! those of the whole batch.

mod batch;
pub mod grpo;
mod loss;
mod metrics;
mod sampler_correction;
pub mod sft;
mod tokens;

pub use batch::{Batch, SampledData, Sequence, Totals};
pub use loss::{Loss, Objective};
pub use metrics::{Divergence, Metrics};
pub use sampler_correction::{CorrectionKind, CorrectionLevel, SamplerCorrection, SamplerMismatch};
