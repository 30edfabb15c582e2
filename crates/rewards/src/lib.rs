//! Reward derivation: from a group and its pseudo-reference to one reward per rollout. No function here
//! can see a label.
//!
//! Each deriver has a file with a `Config` (its table in the manifest), a struct that implements
//! [`preceptor_core::RewardDeriver`] (the three of rubrics share [`RubricReward`] and have a [`Form`] each),
//! and its description ([`preceptor_core::Settings`]). `answer-match`, `format`,
//! `length-penalty`, `constant` and `random` compute; `rubric`, `rubric-from-question` and
//! `rubric-likert` let the anchor write criteria and a judge check them; `judge` and `judge-scalar` ask
//! the judge directly. [`WeightedSum`] adds terms up.
//!
//! A reward that could not be measured is `Unrewarded` with its reason, never 0.

pub mod answer_match;
pub mod constant;
pub mod format;
pub mod judge_equivalence;
pub mod judge_scalar;
pub mod length_penalty;
pub mod random;
pub mod rubric;
pub mod rubric_from_question;
pub mod rubric_likert;

mod each_rollout;
mod outcome;
#[cfg(test)]
mod permuting;
mod rubric_cells;
mod rubric_config;
mod rubric_measures;
mod rubric_parser;
mod rubric_reward;
mod weighted_sum;

pub use answer_match::AnswerMatch;
pub use constant::Constant;
pub use format::Format;
pub use judge_equivalence::JudgeEquivalence;
pub use judge_scalar::JudgeScalar;
pub use length_penalty::LengthPenalty;
pub use random::Random;
pub use rubric_config::RubricConfig;
pub use rubric_reward::{Form, RubricReward};
pub use weighted_sum::{Term, WeightedSum};
