//! GGUF files: header and metadata, tensors, and the tokenizer they carry.

mod dequantize;
mod metadata;
mod names;
mod reader;
mod tokenizer;

pub(crate) use metadata::{check_metadata, rope_scaling_from_gguf};
pub(crate) use names::GgufNames;
pub use reader::{GgufFile, GgufValue};
pub(crate) use tokenizer::read_tokenizer;
