//! Sampling and scoring with a loaded model.

mod engine;
mod generate;
mod local_model;
mod sampler;
mod score;

pub use engine::{CounterValues, new_cache, rows_per_pass};
pub use local_model::{GenerationOptions, LocalModel, Traced};
pub use sampler::{Draw, RolloutTrace, Trace, draw_token, token_logprob};
