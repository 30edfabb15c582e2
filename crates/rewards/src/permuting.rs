//! The property that every deriver must have: a rollout's reward does not depend on its place.

use preceptor_core::{Group, PseudoReference, RewardDeriver, RewardRequest, Seed};

/// Derives rewards of `group` and of its rollouts in another order, and checks that each rollout keeps
/// its reward and the group its measures.
pub(crate) fn check(
    deriver: &dyn RewardDeriver,
    group: &Group,
    reference: Option<&PseudoReference>,
    shuffle: u64,
) {
    let seed = Seed::root(1);
    let derive = |group: &Group| {
        deriver.derive(&[RewardRequest { group, reference, seed }]).unwrap().remove(0)
    };
    let mut order: Vec<usize> = (0..group.rollouts.len()).collect();
    order.sort_by_key(|&place| Seed::root(shuffle).derive_index(place as u64));
    let rollouts = order.iter().map(|&place| group.rollouts[place].clone()).collect();
    let permuted = Group { prompt: group.prompt.clone(), rollouts };
    let (before, after) = (derive(group), derive(&permuted));
    assert_eq!(before.rewards.len(), group.rollouts.len());
    for (place, &old_place) in order.iter().enumerate() {
        assert_eq!(after.rewards[place], before.rewards[old_place]);
    }
    assert_eq!(before.rubric, after.rubric);
    assert!(before.measures.keys().eq(after.measures.keys()));
    for (name, value) in &before.measures {
        assert!((value - after.measures[name]).abs() < 1e-12, "{name}");
    }
}
