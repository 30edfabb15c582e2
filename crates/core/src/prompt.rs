//! Prompts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ModelIdentity;

/// Names one prompt of one benchmark, for example `math500/test/algebra/2584.json`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptId(String);

impl PromptId {
    /// An id from any text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PromptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Speaker in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Instructions above the conversation.
    System,
    /// The person who asks.
    User,
    /// The model's earlier turns.
    Assistant,
}

impl Role {
    /// The role as chat templates spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// Turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The speaker.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// Form in which a prompt reaches the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptBody {
    /// Turns that the model's own chat template renders; the model answers the last one.
    Chat(Vec<Message>),
    /// Plain text that the model continues, as base models are prompted with worked examples.
    Text(String),
}

impl PromptBody {
    /// Creates an instruction as `model` takes it: a chat of one turn, or plain text for a model that is
    /// known to have no chat template.
    pub fn instruction(text: String, model: &ModelIdentity) -> Self {
        if model.takes_chat() {
            Self::Chat(vec![Message { role: Role::User, content: text }])
        } else {
            Self::Text(text)
        }
    }
}

/// Switch of a chat template that decides if the model writes down its thoughts before it answers (Qwen 3, for
/// example). Templates without one ignore it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Thinking {
    /// It answers at once, as in the paper.
    #[default]
    Off,
    /// It thinks first.
    On,
}

impl Thinking {
    /// Returns whether it is off.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// Prompt of the policy: a question without its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The id.
    pub id: PromptId,
    /// The text.
    pub body: PromptBody,
    /// The switch of the chat template, where it has one.
    #[serde(default, skip_serializing_if = "Thinking::is_off")]
    pub thinking: Thinking,
}

impl Prompt {
    /// Creates a prompt that is answered without thinking.
    pub fn new(id: PromptId, body: PromptBody) -> Self {
        Self { id, body, thinking: Thinking::Off }
    }

    /// Returns the question for use inside another prompt: the one turn of a chat as it is, longer
    /// chats with their roles, plain text as it is.
    pub fn question_text(&self) -> String {
        match &self.body {
            PromptBody::Chat(messages) if messages.len() == 1 => messages[0].content.clone(),
            _ => self.display_text(),
        }
    }

    /// The prompt as one text for people: turns are separated by blank lines and named.
    pub fn display_text(&self) -> String {
        match &self.body {
            PromptBody::Text(text) => text.clone(),
            PromptBody::Chat(messages) => {
                let turns = messages.iter().map(|m| format!("{}: {}", m.role.as_str(), m.content));
                turns.collect::<Vec<_>>().join("\n\n")
            }
        }
    }
}
