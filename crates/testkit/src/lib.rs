//! Builders and scripted ports for tests. Nothing here is used outside tests.

mod builders;
mod scripted;

pub use builders::{boxed_group, group, prompt, rollout};
pub use scripted::ScriptedGenerator;
