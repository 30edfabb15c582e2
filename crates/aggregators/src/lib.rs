//! Reference estimation (paper, section 3.1): from a group of rollouts to one pseudo-reference,
//! without a label.
//!
//! Each aggregator has a file with a `Config` (its table in the manifest), a struct that
//! implements [`preceptor_core::Aggregator`], and its description ([`preceptor_core::Settings`]). `single`, `majority`,
//! `weighted-majority`, `min-ppl` and `medoid` compute; `mutual-predictability` lets the policy score,
//! `self-bon` lets it choose, `judge-bon` lets a judge choose, `synthesis` lets the anchor write.

pub mod judge_bon;
pub mod majority;
pub mod medoid;
pub mod min_ppl;
pub mod mutual_predictability;
pub mod self_bon;
pub mod single;
pub mod synthesis;
pub mod weighted_majority;

mod asking;
mod best;
mod confidence;
mod lineup;
mod order;
mod outcome;
pub mod probes;
mod shown;
mod similarity;

pub use judge_bon::JudgeBon;
pub use majority::Majority;
pub use medoid::Medoid;
pub use min_ppl::MinPpl;
pub use mutual_predictability::MutualPredictability;
pub use self_bon::SelfBon;
pub use single::Single;
pub use synthesis::Synthesis;
pub use weighted_majority::WeightedMajority;
