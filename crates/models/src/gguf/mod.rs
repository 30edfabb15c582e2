//! GGUF files: header and metadata, tensors, and the tokenizer they carry.

mod dequantize;
mod reader;
mod tokenizer;

pub use reader::{GgufFile, GgufValue};
pub(crate) use tokenizer::read_tokenizer;
