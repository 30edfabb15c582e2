//! Which model answered.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What makes two models the same for the store: contents, never paths or names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelIdentity {
    /// Digest of the weights and the configuration that shapes them.
    pub weights: Digest,
    /// Digest of the tokenizer.
    pub tokenizer: Digest,
    /// Digest of the chat template; none for models without one.
    pub template: Option<Digest>,
    /// Whether the digests were computed from files here. A remote model's are its name's.
    pub attested: bool,
}

impl ModelIdentity {
    /// Whether it answers chats: all but models that are here and have no chat template.
    pub fn takes_chat(&self) -> bool {
        self.template.is_some() || !self.attested
    }
}
