//! Tokens of a call.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Tokens read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens that were read. A prompt shared by a group counts once.
    pub num_prompt_tokens: u64,
    /// Tokens that were sampled.
    pub num_generated_tokens: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.num_prompt_tokens += other.num_prompt_tokens;
        self.num_generated_tokens += other.num_generated_tokens;
    }
}
