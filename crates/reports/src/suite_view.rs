//! Contents of a suite's summary page.

use preceptor_core::record::CostRecord;

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

/// Everything that the summary page shows.
pub(crate) struct SuiteView<'v> {
    pub(crate) suite: &'v Suite<'v>,
    pub(crate) judged: &'v [ClaimResult<'v>],
    /// A row for each check.
    pub(crate) claims: &'v Table,
    pub(crate) contrasts: &'v Table,
    pub(crate) parts: &'v [PartView],
    /// The experiment with the most conditions, and its scores in brief.
    pub(crate) answer: Option<(&'v str, &'v Table)>,
    /// Caption and SVG of the figure that comes first.
    pub(crate) figure: Option<(&'v str, &'v str)>,
    /// True if that figure is of the suite's own contrasts.
    pub(crate) has_own_figure: bool,
    pub(crate) cost: Option<CostRecord>,
    /// The control arms that all experiments together lack, in a sentence.
    pub(crate) lack: Option<String>,
}

impl SuiteView<'_> {
    /// Returns the row of a claim's first check in the table of claims.
    pub(crate) fn first_row(&self, claim: &str) -> usize {
        let before = self.judged.iter().take_while(|judged| judged.claim.id != claim);
        before.map(|judged| judged.results.len().max(1)).sum()
    }
}

/// Returns how many claims have each verdict, without those that none has.
pub(crate) fn verdict_counts(judged: &[ClaimResult<'_>]) -> Vec<(ClaimVerdict, usize)> {
    let count =
        |verdict: &ClaimVerdict| judged.iter().filter(|one| one.verdict == *verdict).count();
    let all = [
        ClaimVerdict::Supported,
        ClaimVerdict::NotSupported,
        ClaimVerdict::Undecided,
        ClaimVerdict::NotTestable,
    ];
    all.into_iter().map(|verdict| (verdict, count(&verdict))).filter(|(_, n)| *n > 0).collect()
}

/// The part of an experiment that the summary page shows.
pub(crate) struct PartView {
    pub(crate) experiment: String,
    pub(crate) title: String,
    pub(crate) tables: Vec<Table>,
    /// Names of its figures with their SVG texts.
    pub(crate) figures: Vec<(String, String)>,
}
