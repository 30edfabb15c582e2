//! Short ways to say what came of a group.

use std::collections::BTreeMap;

use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, Origin, PseudoReference, Rollout, Usage,
};

/// Returns the outcome whose pseudo-reference is the rollout itself.
pub(crate) fn chosen(rollout: &Rollout) -> AggregateOutcome {
    let origin = Origin::Rollout(rollout.index);
    AggregateOutcome::Estimated(PseudoReference { text: rollout.text.clone(), origin })
}

/// Returns an outcome that cost nothing beyond the rollouts.
pub(crate) fn free<const N: usize>(
    outcome: AggregateOutcome,
    measures: [(&str, f64); N],
) -> Aggregate {
    let measures: BTreeMap<_, _> =
        measures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Aggregate { outcome, measures, replies: Vec::new(), usage: Usage::default() }
}

/// Returns the outcome without a pseudo-reference.
pub(crate) fn abstained(reason: AbstainReason) -> Aggregate {
    free(AggregateOutcome::Abstained(reason), [])
}

/// Returns 1 for true and 0 for false.
pub(crate) fn flag(truth: bool) -> f64 {
    f64::from(u8::from(truth))
}
