//! `synthesis`: the anchor reads the rollouts and writes a new answer.
//!
//! ```text
//! s ~ pi_0( . | synthesis prompt, o_1 .. o_G )
//! ```
//!
//! The question is left out, so that the anchor works with what the rollouts say (paper, section
//! 3.1); `question = true` puts it in. Two built-in prompts: *reasoning* (a summary that names
//! contradictions, then a unified response that ends in a boxed answer) where a benchmark has final
//! answers, *freeform* (one merged response) elsewhere. Rollouts are fenced and numbered in a
//! seeded order that does not depend on their indices.
//!
//! **Which part counts.** The text below the prompt's last heading (`Unified response`, `Merged
//! response`) is the pseudo-reference. The heading must be on a line of its own, with any marks around
//! it; the last such line counts. A reply without the heading is used whole, and counted (`heading`
//! 0). Thoughts (`<think>`) are removed. If nothing is left, the group abstains with the reason. A
//! pseudo-reference without a final answer is kept: it matches nothing.
//!
//! **Cut-off replies.** A rollout that reaches its token limit is graded as it is. With `on-cut-off =
//! "keep"` a synthesis is treated the same way: the text below the heading counts, if there is any. With
//! `"abstain"` the group has no pseudo-reference. Either way the reply is counted (`cut-off`).
//!
//! **Large groups.** With `fan-in = k` the rollouts are cut into chunks of at most k, each chunk is
//! synthesised, and the results again, until one is left. A chunk that fails is left out of the next
//! level and counted.
//!
//! Measures: `heading` (share of replies with the heading), `cut-off` (share of replies that reached their
//! token limit), `answered` (1 if the pseudo-reference has
//! a final answer), `num-replies`, `num-levels`, `lost-chunks`.
//!
//! Differs from the paper: prompts are ours, its own are not published in full; the order of
//! rollouts is not stated there.

mod aggregator;
mod config;

pub use aggregator::Synthesis;
pub use config::{Config, OnCutOff, Style};
