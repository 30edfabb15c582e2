//! Reference estimation (paper, section 3.1): from a group of rollouts to one pseudo-reference,
//! without a label.
//!
//! One aggregator, one file. Each has a `Config` (its table in the manifest), a struct that
//! implements [`preceptor_core::Aggregator`], and a summary for the catalog.

pub mod majority;
pub mod single;

pub use majority::Majority;
pub use single::Single;
