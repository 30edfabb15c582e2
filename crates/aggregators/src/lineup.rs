//! Groups that a reader chooses from: what `self-bon` and `judge-bon` share.
//!
//! A reader sees the rollouts in a seeded order that does not depend on their positions, so that a liking
//! for the first one is spread evenly over them. A single rollout leaves nothing to choose, and no model is
//! asked.

use preceptor_core::{AbstainReason, Aggregate, AggregateRequest, PortError, Rollout};

use crate::order::seeded_order;
use crate::outcome::{abstained, chosen, free};

/// A group of two rollouts or more as a reader sees it.
pub(crate) struct Lineup<'a> {
    pub(crate) request: &'a AggregateRequest<'a>,
    /// In the order in which they are shown.
    pub(crate) rollouts: Vec<&'a Rollout>,
}

impl<'a> Lineup<'a> {
    fn new(request: &'a AggregateRequest<'a>) -> Self {
        let rollouts = &request.group.rollouts;
        let order = seeded_order(rollouts, request.seed.derive("order"));
        Self { request, rollouts: order.into_iter().map(|index| &rollouts[index]).collect() }
    }

    pub(crate) fn texts(&self) -> Vec<&'a str> {
        self.rollouts.iter().map(|rollout| rollout.text.as_str()).collect()
    }
}

/// Returns an outcome for each group. `choose` decides those with several candidates, all at once.
pub(crate) fn choose_best<'a>(
    requests: &'a [AggregateRequest<'a>],
    choose: impl FnOnce(&[Lineup<'a>]) -> Result<Vec<Aggregate>, PortError>,
) -> Result<Vec<Aggregate>, PortError> {
    let to_choose_from = requests.iter().filter(|request| request.group.rollouts.len() > 1);
    let lineups: Vec<Lineup<'a>> = to_choose_from.map(Lineup::new).collect();
    let mut choices = choose(&lineups)?.into_iter();
    let aggregate = |request: &AggregateRequest<'_>| match request.group.rollouts.as_slice() {
        [] => abstained(AbstainReason::EmptyGroup),
        [only] => free(chosen(only), []),
        _ => choices.next().expect("one choice for each lineup"),
    };
    Ok(requests.iter().map(aggregate).collect())
}

#[cfg(test)]
mod tests {
    use preceptor_core::{AggregateOutcome, Origin, Seed};
    use preceptor_testkit::group;

    use super::*;

    #[test]
    fn only_groups_of_several_are_asked_about_and_each_gets_its_own_answer() {
        let groups = [group(&["a", "b"]), group(&[]), group(&["c"]), group(&["d", "e", "f"])];
        let request = |group| AggregateRequest { group, seed: Seed::root(1) };
        let requests: Vec<_> = groups.iter().map(request).collect();
        let last_shown = |lineups: &[Lineup<'_>]| {
            let sizes: Vec<_> = lineups.iter().map(|lineup| lineup.texts().len()).collect();
            assert_eq!(sizes, [2, 3]);
            let last =
                |lineup: &Lineup<'_>| free(chosen(lineup.rollouts[lineup.rollouts.len() - 1]), []);
            Ok(lineups.iter().map(last).collect())
        };
        let aggregates = choose_best(&requests, last_shown).unwrap();
        let text = |aggregate: &Aggregate| match &aggregate.outcome {
            AggregateOutcome::Estimated(reference) => {
                assert!(matches!(reference.origin, Origin::Rollout(_)));
                reference.text.clone()
            }
            AggregateOutcome::Abstained(reason) => format!("{reason:?}"),
        };
        let texts: Vec<String> = aggregates.iter().map(text).collect();
        assert!("ab".contains(&texts[0]) && "def".contains(&texts[3]), "{texts:?}");
        assert_eq!(texts[1..3], ["EmptyGroup", "c"]);
    }
}
