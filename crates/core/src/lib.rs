//! Plain data and the port traits that the crates of `preceptor` share.
//!
//! This crate computes no reward and runs no model. The types name the notions of the method
//! (prompt, rollout, group, pseudo-reference), the port traits name the roles that
//! implementations fill, and [`record`] holds what is written to the store. This crate knows no
//! labels: a benchmark's truth is a type of the `benchmarks` crate and stays there.

mod call_failure;
mod component;
pub mod contrast;
mod controls;
mod digest;
mod group;
mod measure;
mod model;
mod port;
mod prompt;
mod pseudo_reference;
pub mod record;
mod reward;
mod role;
mod rubric;
mod sampling;
mod seed;
mod split;
mod usage;
mod verdict;

pub use call_failure::{CallFailure, CallFailureKind};
pub use component::{Calls, CellFacts, GroupShape, Needs, OutOfRange, PromptError, Settings};
pub use controls::lacking_controls;
pub use digest::Digest;
pub use group::{FinishReason, Group, Rollout};
pub use measure::{Better, StepMeasure};
pub use model::ModelIdentity;
pub use port::{
    Aggregate, AggregateOutcome, AggregateRequest, Aggregator, ChoiceRequest, Continuation,
    GenerationObserver, GenerationRequest, Generator, Judge, LanguageModel, NoObserver, PortError,
    Reply, RewardDeriver, RewardRequest, RolloutSeed, Scale, ScoreRequest, Scorer,
    TokenDistribution, TokenScores, VerdictRequest,
};
pub use prompt::{Message, Prompt, PromptBody, PromptId, Role, Thinking};
pub use pseudo_reference::{AbstainReason, Origin, PseudoReference};
pub use reward::{GroupReward, JudgedCriterion, Reward, RewardValue, UnrewardedReason};
pub use role::ModelRole;
pub use rubric::{Criterion, Rubric};
pub use sampling::Sampling;
pub use seed::Seed;
pub use split::Split;
pub use usage::Usage;
pub use verdict::{Evidence, JudgeFailure, Judged, Rating, Verdict};
