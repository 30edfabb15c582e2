//! Mathematical answers: finding them in text, grading them, grouping them for votes.
//!
//! - [`extract_boxed`] finds the answer in a rollout; what it found by which rule is an
//!   [`Extraction`].
//! - [`GraderProfile`] names the graders: four as published elsewhere, defects included, for
//!   comparison with other people's numbers; plain string equality; and `verify`, ours.
//! - [`canonical`] and [`classify`] group answers by value for votes. Abstention is its own class.
//!
//! Pure: no file, no clock, no randomness, no evaluation of code; every input ends within a bound.

mod classes;
mod dapo;
mod extract;
mod grade;
mod hendrycks;
mod minerva;
mod prm800k;
mod profile;
mod rewrite;
mod string;
mod verify;

pub use classes::{AnswerClass, CanonicalKey, Classes, Majority, canonical, classify};
pub use extract::{Extraction, ExtractionRule, NoAnswerReason, extract_boxed};
pub use grade::Grade;
pub use profile::{GraderProfile, UnknownProfile};
pub use verify::{MAX_STEPS, ValueKind, kind_of, parsing_steps};
