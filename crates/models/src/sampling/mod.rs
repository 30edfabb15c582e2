//! Sampling and scoring with a loaded model.

mod engine;
mod generate;
mod local_model;
mod replay;
mod sampler;
mod score;

pub use engine::{CounterValues, new_cache, rows_per_pass};
pub use generate::GenerationOptions;
pub use local_model::{LocalModel, TracedRollout};
pub use sampler::{RolloutTrace, SampledToken, Trace, sample_token, token_logprob};
