//! `pocket`: a tiny model of the generated worlds, pretrained from nothing by this project's own trainer,
//! with which the whole method runs in minutes on a laptop.
//!
//! **What it shows and what not.** The pretraining text is written by this crate. That attempts are
//! right about half of the time, that a synthesis is right more often than a majority, that rubrics are
//! well-formed: all of it is built into that text ([`errors`], [`rows`]). A run with `pocket` shows that
//! the machinery works and reacts as it should; it is no evidence about real language models.
//!
//! [`vocabulary`] makes the tokenizer, [`network`] the weights before training, [`rows`] the text,
//! [`pretrain()`] trains. No other crate knows how the model came to be: it is a Hugging Face folder like
//! any other.

pub mod errors;
pub mod network;
pub mod rows;
pub mod vocabulary;

mod error;
mod pretrain;

pub use error::Error;
pub use pretrain::{Progress, Settings, Summary, pretrain};
