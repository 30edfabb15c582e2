//! Short ways to say what came of a group.

use std::collections::BTreeMap;

use preceptor_core::{
    AbstainReason, Aggregate, AggregateOutcome, Origin, PseudoReference, Rollout, Usage,
};

/// The rollout itself is the pseudo-reference.
pub(crate) fn chosen(rollout: &Rollout) -> AggregateOutcome {
    let origin = Origin::Rollout(rollout.index);
    AggregateOutcome::Estimated(PseudoReference { text: rollout.text.clone(), origin })
}

/// An outcome that cost nothing beyond the rollouts.
pub(crate) fn free<const N: usize>(
    outcome: AggregateOutcome,
    measures: [(&str, f64); N],
) -> Aggregate {
    let measures: BTreeMap<_, _> =
        measures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Aggregate { outcome, measures, replies: Vec::new(), usage: Usage::default() }
}

/// No pseudo-reference.
pub(crate) fn abstained(reason: AbstainReason) -> Aggregate {
    free(AggregateOutcome::Abstained(reason), [])
}

/// 1 or 0.
pub(crate) fn flag(truth: bool) -> f64 {
    f64::from(u8::from(truth))
}
