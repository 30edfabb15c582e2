//! Tests of the crate from outside: parity with the reference, equivalences, formats, errors.

mod errors;
mod formats;
mod gguf_builder;
mod gradients;
mod invariance;
mod parity;
mod real;
mod support;
mod training;
