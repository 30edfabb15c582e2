//! Files of models: Hugging Face folders, GGUF, tokenizers and chat templates.

mod chat_template;
mod gguf;
mod hf_folder;
mod special_tokens;
mod tokenizer;
mod weight_source;

pub use chat_template::ChatTemplate;
pub use gguf::{GgufFile, GgufValue};
pub(crate) use gguf::{GgufNames, read_tokenizer};
pub use hf_folder::{HfWeights, JsonFile, NamedTensors, read_all as read_safetensors};
pub(crate) use special_tokens::SpecialTokens;
pub(crate) use tokenizer::TextStream;
pub use tokenizer::Tokenizer;
pub use weight_source::WeightSource;
pub(crate) use weight_source::check_finite;
