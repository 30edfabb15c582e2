//! Rollouts and groups of them.

use serde::{Deserialize, Serialize};

use crate::Prompt;

/// Reason that a rollout ended.
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
    /// Returns true if the model was stopped before it had finished.
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

/// Sampled response of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Index in the group, from 0. It names the random stream of the rollout.
    pub index: u32,
    /// The text, without end token and without stop string.
    pub text: String,
    /// Every token that was sampled, end token included.
    pub token_ids: Vec<u32>,
    /// Natural log-probability of each sampled token under the unmodified distribution; same
    /// length as `token_ids`, empty where the model gives none.
    pub logprobs: Vec<f32>,
    /// Reason that it ended.
    pub finish: FinishReason,
    /// Length of the prompt in the model's tokens; 0 where the model does not tell.
    pub num_prompt_tokens: u32,
    /// Number of sampled tokens, as reported by a model that does not return `token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_tokens: Option<u32>,
}

impl Rollout {
    /// Returns the number of sampled tokens; 0 if the model does not report it.
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
    /// The prompt.
    pub prompt: Prompt,
    /// The rollouts.
    pub rollouts: Vec<Rollout>,
}
