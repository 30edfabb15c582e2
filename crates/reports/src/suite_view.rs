//! Contents of a suite's summary page.

use crate::claims::{Claim, Seen, Verdict};
use crate::suite_contrasts::SuiteContrast;
use crate::table::Table;

/// What a summary is about.
#[derive(Clone, Copy, Debug)]
pub struct Suite<'a> {
    /// One line.
    pub title: &'a str,
    /// What was done, and of what it is no evidence.
    pub description: &'a str,
    /// What is tested.
    pub claims: &'a [Claim],
    /// Comparisons across its experiments: one family of tests.
    pub contrasts: &'a [SuiteContrast],
}

/// A claim with what was seen.
pub(crate) struct Judged<'c> {
    pub(crate) claim: &'c Claim,
    pub(crate) seen: Vec<Seen<'c>>,
    pub(crate) verdict: Verdict,
}

/// What a page shows of an experiment.
pub(crate) struct PartView {
    pub(crate) experiment: String,
    pub(crate) title: String,
    pub(crate) tables: Vec<Table>,
    /// Names of its figures with their SVG texts.
    pub(crate) figures: Vec<(String, String)>,
}
