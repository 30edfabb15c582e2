//! Errors of loading and using a model.

use std::path::PathBuf;

use preceptor_core::PortError;

/// Error for a model that can't be loaded or used.
///
/// Messages name the file, the tensor or key, the value found and the values expected; a hint comes last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file can't be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder can't be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A model's folder lacks a file.
    #[error("find `{file}` in `{}`\nhint: {hint}", folder.display())]
    MissingFile {
        /// The folder that was searched.
        folder: PathBuf,
        /// The missing file.
        file: String,
        /// The suggested fix.
        hint: &'static str,
    },
    /// A file ends early or contradicts itself.
    #[error("parse `{}`: {detail}\nhint: the file may be incomplete; fetch it again and compare its digest", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The value found and the value expected.
        detail: String,
    },
    /// A configuration key is missing or has an invalid value.
    #[error("read key `{key}` of `{}`: found {found}, expected {expected}\nhint: compare it with the file that the model's authors published", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// The values expected.
        expected: String,
    },
    /// The file asks for something that is not implemented.
    #[error("use `{}`: {what} `{found}` is not supported, only {allowed}\nhint: {hint}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind of thing.
        what: String,
        /// The value.
        found: String,
        /// The supported values.
        allowed: String,
        /// The suggested fix.
        hint: &'static str,
    },
    /// A setting of adapters is invalid for the model.
    #[error("adapt the model: `lora.{key}` is {found}, expected {expected}")]
    Lora {
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// The values expected.
        expected: String,
    },
    /// Stored values don't belong to the parameters being trained.
    #[error(
        "load the values of parameter `{name}`: {detail}\nhint: they may belong to another model or other adapter settings"
    )]
    Parameters {
        /// The parameter.
        name: String,
        /// The difference.
        detail: String,
    },
    /// A tensor is not in the weights.
    #[error("load tensor `{tensor}` of `{}`: not found among {present} tensors\nhint: the configuration may belong to other weights", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The number of tensors.
        present: usize,
    },
    /// A tensor's shape differs from that in the configuration.
    #[error("load tensor `{tensor}` of `{}`: found shape {found:?}, expected {expected:?}\nhint: the configuration may belong to other weights", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape in the configuration.
        expected: Vec<usize>,
    },
    /// A tensor holds NaN or an infinite number.
    #[error("load tensor `{tensor}` of `{}`: found {value} at index {index}, expected finite values\nhint: the file is damaged, or was written by a training run that diverged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The index of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A log-probability is NaN or infinite.
    #[error(
        "{action} token {token}: found log-probability {logprob}, expected a finite number\nhint: the weights may have diverged, or be too large for the number format; nothing was stored"
    )]
    NotFiniteLogprob {
        /// `sample` or `score`.
        action: &'static str,
        /// The token's id.
        token: u32,
        /// The log-probability.
        logprob: f32,
    },
    /// Tokens of another engine are no rollout of this model.
    #[error(
        "read a rollout of another engine: {detail}\nhint: both must have the same model, tokenizer and end tokens"
    )]
    Replay {
        /// The fault.
        detail: String,
    },
    /// The tokenizer rejects its own files or a text.
    #[error("use the tokenizer of `{}`: {detail}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The message.
        detail: String,
    },
    /// The chat template can't be compiled or rejects a conversation.
    #[error("render the chat template of `{}`: {detail}", path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// The message.
        detail: String,
    },
    /// A chat was sent to a model without a chat template.
    #[error("render a chat: `{}` has no chat template\nhint: use plain text prompts with this model", path.display())]
    NoTemplate {
        /// The model.
        path: PathBuf,
    },
    /// A prompt has no tokens.
    #[error(
        "read prompt `{prompt}`: it has no tokens, expected at least one\nhint: this model's tokenizer adds no start token to plain text"
    )]
    EmptyPrompt {
        /// The prompt's id.
        prompt: String,
    },
    /// A token id is outside of the vocabulary.
    #[error(
        "read token {token}: found an id outside of the vocabulary, expected an id below {vocab_size}"
    )]
    UnknownToken {
        /// The id.
        token: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// The device's name is unknown, or it is not compiled in.
    #[error("use device `{name}`: expected {expected}\nhint: {hint}")]
    Device {
        /// The name.
        name: String,
        /// The names expected.
        expected: String,
        /// The suggested fix.
        hint: String,
    },
}

/// The component's name in port errors.
pub(crate) const COMPONENT: &str = "the local model";

/// Converts to the error of a port.
pub(crate) fn port_error(error: Error) -> PortError {
    PortError::Failed { component: COMPONENT, source: Box::new(error) }
}
