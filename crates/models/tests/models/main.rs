//! Tests of the crate from outside: parity with the reference, equivalences, formats, errors.

mod adapters;
mod errors;
mod formats;
mod gguf_builder;
mod gradients;
mod invariance;
mod not_finite;
mod parity;
mod real;
mod replay;
mod special_tokens;
mod support;
mod training;
mod unread;
