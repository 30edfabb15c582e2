//! The explorer: every group of a plan, prompt by prompt, on a page that loads what it shows.
//!
//! A **set** holds groups that were sampled together: those of an evaluated policy at one seed, or
//! those of all steps of a training run. Conditions that read the same rollouts share a set.
//!
//! ```text
//! explorer/<benchmark>/index.html    the page
//!                     /index.js      sets, prompts, and a row of numbers for each group
//!                     /0000.js       a slice: groups with their texts, each text once
//!                     /0000-tokens.js  log-probabilities of the tokens of that slice
//!                     /long-0000.js  a text of more than 32 KiB
//!                     /prompts-0000.js  whole prompts
//!         /viewer/                   scripts and styles of all pages; the parts of a suite share
//!                                    those in `viewer/` beside the suite's page
//! ```
//!
//! Slices are scripts, because browsers refuse to `fetch` from `file://`. The page asks for one when a
//! group of it is opened. Texts of benchmarks that must not be published are in `explorer-private/`.

mod details;
mod evaluated;
mod flags;
mod index;
mod judged;
mod named;
mod page;
mod slices;
mod texts;
mod thinning;
mod trained;
mod view;
mod walk;
mod write;

pub(crate) use judged::JudgedView;
pub(crate) use named::{Part, SetHead};
pub(crate) use texts::Texts;
pub(crate) use view::mean;
pub(crate) use walk::{Met, Visitor, benchmarks, walk};
pub(crate) use write::{Explorer, write_explorers};
