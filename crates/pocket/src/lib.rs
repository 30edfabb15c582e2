//! `pocket`: a tiny model of the synthetic benchmarks, pretrained from scratch by this project's own
//! trainer. With it, the whole method runs in minutes on a laptop.
//!
//! **Scope.** This crate writes the pretraining text. Attempts that are right about half of the time,
//! syntheses that are right more often than majorities, well-formed rubrics: all of it is built into that
//! text ([`errors`], [`rows`]). A run with `pocket` shows that the machinery works and responds as it
//! should; it is not evidence about real language models.
//!
//! [`vocabulary`] builds the tokenizer, [`network`] the initial weights, [`rows`] the text, and
//! [`pretrain()`] trains. Other crates load the result like any Hugging Face folder.

pub mod errors;
pub mod network;
pub mod rows;
pub mod vocabulary;

mod error;
mod pretrain;

pub use error::Error;
pub use pretrain::{Progress, Settings, Summary, pretrain};
