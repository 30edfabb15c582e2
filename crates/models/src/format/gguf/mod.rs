//! GGUF files: header and metadata, tensors, and the tokenizer in the metadata.

mod dequantize;
mod names;
mod reader;
mod tokenizer;

pub(crate) use names::GgufNames;
pub use reader::{GgufFile, GgufValue};
pub(crate) use tokenizer::read_tokenizer;
