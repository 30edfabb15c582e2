//! Names of random streams.

use preceptor_core::{PromptId, Seed};

/// Returns the random stream of one prompt in one stage of one run.
pub(crate) fn prompt_seed(run_seed: u64, stage: &str, prompt: &PromptId) -> Seed {
    Seed::root(run_seed).derive(stage).derive(prompt.as_str())
}
