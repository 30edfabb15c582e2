//! Rows of the table `scores`.

use preceptor_stats::Contrast;

use crate::condition::Condition;
use crate::condition_scores::ConditionScores;

/// A condition with its results.
pub(super) struct Row<'a> {
    pub(super) condition: Condition<'a>,
    pub(super) scored: ConditionScores,
    pub(super) vs_single: Option<Contrast>,
    pub(super) vs_rollouts: Option<Contrast>,
    pub(super) p_holm: Option<f64>,
    pub(super) standing: &'static str,
    pub(super) common: Option<ConditionScores>,
}
