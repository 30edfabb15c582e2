//! Tables, figures and pages made from records.
//!
//! A report is made from the store alone: [`write()`] takes the digest of a plan and fills a
//! folder.
//!
//! ```text
//! <folder>/page.html  page.md           the results, for readers
//!         /plan.toml  provenance.json   settings, inputs and code revision
//!         /tables/*.{csv,parquet,tex}   every number, one row per condition
//!         /figures/*.{svg,png,pdf}      drawn from the tables ([`redraw`] redraws them)
//!         /explorer/                    rollouts and everything made from them, prompt by prompt
//!         /explorer-private/            likewise, of benchmarks whose texts must not be published
//! ```
//!
//! Every score has its interval, n, seeds, coverage and grader beside it.

mod answers;
mod claims;
mod columns;
mod condition;
mod condition_scores;
mod error;
mod evidence;
mod explorer;
mod facts;
mod figures;
mod file;
mod html;
mod html_suite;
mod html_table;
mod inspect_log;
mod label;
mod latex;
mod lm_eval;
mod loading;
mod markdown;
mod number;
mod overview;
mod provenance;
mod record_file;
mod records;
mod shown;
mod suite;
mod suite_contrasts;
mod suite_view;
mod table;
mod tables;
mod text_form;
mod unfinished;
mod visible;
mod write;

pub use claims::{Check, Claim, Expect, Measure, check_claims};
pub use error::Error;
pub use figures::FigureWidth;
pub use inspect_log::write_inspect_logs;
pub use lm_eval::write_lm_eval_results;
pub use number::{format_difference, format_number, format_p_value, format_percent, format_usd};
pub use records::{ColumnType, RecordColumn, RecordFiles, record_files, write_records};
pub use suite::{SuiteFiles, SuitePart, write_suite};
pub use suite_contrasts::{SuiteContrast, check_contrasts};
pub use suite_view::Suite;
pub use unfinished::Unfinished;
pub use visible::visible;
pub use write::{ReportFiles, ReportOptions, redraw, write};
