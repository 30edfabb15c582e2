//! Records to tables, figures and pages.
//!
//! A report is made from the store alone: [`write()`] takes the digest of a plan and fills a folder.
//!
//! ```text
//! <folder>/page.html  page.md           what was found, for people
//!         /plan.toml  provenance.json   what was run, on what, by which code
//!         /tables/*.{csv,parquet,tex}   every number, one row a condition
//!         /figures/*.{svg,png}          drawn from the tables ([`redraw`] does it again)
//!         /explorer/                    texts of benchmarks that must not be published
//! ```
//!
//! Every score has its interval, n, seeds, coverage and grader beside it.

mod answers;
mod claims;
mod condition;
mod error;
mod evidence;
mod explorer;
mod figures;
mod file;
mod html;
mod judged_view;
mod label;
mod latex;
mod markdown;
mod number;
mod provenance;
mod scored;
mod suite;
mod suite_contrasts;
mod suite_view;
mod table;
mod tables;
mod visible;
mod write;

pub use claims::{Check, Claim, Expect, Measure, check_claims};
pub use error::Error;
pub use number::{format_difference, format_number, format_p_value};
pub use suite::{SuitePart, write_suite};
pub use suite_contrasts::{SuiteContrast, check_contrasts};
pub use suite_view::Suite;
pub use write::{Written, redraw, write};
