//! Rollouts and groups of them.

use serde::{Deserialize, Serialize};

use crate::Prompt;

/// Why a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// The model wrote an end token; it is the last of `token_ids`.
    EndToken,
    /// The text reached a stop string, which is not part of the text.
    StopString,
    /// Cut off at the limit of new tokens.
    MaxNewTokens,
    /// Cut off where the context window was full.
    ContextFull,
    /// The prompt alone fills the context window; nothing was drawn.
    PromptTooLong,
    /// The model declined, or a filter of its server cut it off.
    Refused,
}

impl FinishReason {
    /// Whether the model was stopped before it had finished.
    pub fn is_truncated(self) -> bool {
        matches!(self, Self::MaxNewTokens | Self::ContextFull | Self::PromptTooLong)
    }

    /// The kebab-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndToken => "end-token",
            Self::StopString => "stop-string",
            Self::MaxNewTokens => "max-new-tokens",
            Self::ContextFull => "context-full",
            Self::PromptTooLong => "prompt-too-long",
            Self::Refused => "refused",
        }
    }
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its place in the group, from 0. It names the random stream it was drawn from.
    pub index: u32,
    /// The text, without end token and without stop string.
    pub text: String,
    /// Every token that was sampled, end token included.
    pub token_ids: Vec<u32>,
    /// Natural log-probability of each sampled token under the unmodified distribution; same
    /// length as `token_ids`, empty where the model gives none.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// Length of the prompt in the model's tokens; 0 where the model does not tell.
    pub num_prompt_tokens: u32,
    /// How many tokens were sampled, as told by a model that does not give `token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_tokens: Option<u32>,
}

impl Rollout {
    /// How many tokens were sampled; 0 where the model does not tell.
    pub fn num_tokens(&self) -> u64 {
        match self.reported_tokens {
            Some(reported) if self.token_ids.is_empty() => u64::from(reported),
            _ => self.token_ids.len() as u64,
        }
    }
}

/// The rollouts of one prompt, by rising index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What was asked.
    pub prompt: Prompt,
    /// What was answered.
    pub rollouts: Vec<Rollout>,
}
