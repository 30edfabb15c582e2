//! The identity of a model.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Identity of a model in the store: its contents, never its path or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModelIdentity {
    /// Digest of the weights and the configuration that shapes them.
    pub weights: Digest,
    /// Digest of the tokenizer.
    pub tokenizer: Digest,
    /// Digest of the chat template; none for models without one.
    pub template: Option<Digest>,
    /// True if the digests were computed from local files. Those of a remote model are of its name.
    pub attested: bool,
}

impl ModelIdentity {
    /// Returns true if the model answers chats: all but local models without a chat template.
    pub fn takes_chat(&self) -> bool {
        self.template.is_some() || !self.attested
    }
}
