//! Contents of a suite's summary page.

use crate::claims::{CheckResult, Claim, ClaimVerdict};
use crate::suite_contrasts::SuiteContrast;
use crate::table::Table;

/// The subject of a summary.
#[derive(Clone, Copy, Debug)]
pub struct Suite<'a> {
    /// The title, in one line.
    pub title: &'a str,
    /// The description: what was run, and what it can't show.
    pub description: &'a str,
    /// The claims that are tested.
    pub claims: &'a [Claim],
    /// Comparisons across its experiments: one family of tests.
    pub contrasts: &'a [SuiteContrast],
}

/// A claim with the results of its checks.
pub(crate) struct ClaimResult<'c> {
    pub(crate) claim: &'c Claim,
    pub(crate) results: Vec<CheckResult<'c>>,
    pub(crate) verdict: ClaimVerdict,
}

/// The part of an experiment that the summary page shows.
pub(crate) struct PartView {
    pub(crate) experiment: String,
    pub(crate) title: String,
    pub(crate) tables: Vec<Table>,
    /// Names of its figures with their SVG texts.
    pub(crate) figures: Vec<(String, String)>,
}
