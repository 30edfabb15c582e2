//! Settings of sampling.

use serde::{Deserialize, Serialize};

/// The sampling distribution and where a rollout ends.
///
/// Filters apply in this order: temperature, top-k, top-p, min-p, each on what the one before left,
/// with probabilities renormalised between them, as transformers chains its warpers. Log-probabilities that are kept with a rollout are those of the
/// *unmodified* distribution, whatever is set here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of most likely tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keeps tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f64,
    /// A rollout is cut off after this many tokens.
    pub max_new_tokens: u32,
    /// A rollout ends when its text contains one of these; the text from there on is dropped.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    /// Plain sampling from the model's own distribution, at most 512 tokens.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            max_new_tokens: 512,
            stop: Vec::new(),
        }
    }
}
