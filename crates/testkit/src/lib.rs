//! Builders, scripted ports and a scripted HTTP server for tests. Nothing here is used outside tests.

mod builders;
mod scripted;
mod scripted_judge;
mod scripted_model;
mod scripted_rollouts;
mod scripted_scorer;
pub mod server;

pub use builders::{boxed_group, group, prompt, rollout};
pub use scripted::ScriptedGenerator;
pub use scripted_judge::ScriptedJudge;
pub use scripted_model::ScriptedModel;
pub use scripted_rollouts::ScriptedRollouts;
pub use scripted_scorer::ScriptedScorer;
