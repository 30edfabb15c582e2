//! The order in which rollouts are shown to a model.
//!
//! The order follows from a seed and the texts alone, not from their indices: a model that prefers what it
//! reads first then prefers no stream, and permuting a group changes nothing that is shown. Every order of
//! the rollouts is as likely as any other, equal ones counted each.

use std::collections::{BTreeMap, VecDeque};

use preceptor_core::{Digest, Rollout, Seed};

/// Version of the order. Records made with another version are of other prompts.
const VERSION: u32 = 2;

/// Returns the digest of what a model is shown: the prompt of digest `prompt`, filled with rollouts in
/// this order.
pub(crate) fn digest_with(prompt: &str) -> Digest {
    Digest::of_parts([prompt.as_bytes(), &VERSION.to_le_bytes()])
}

/// Returns the positions of `rollouts` in a seeded order. Rollouts with equal texts come by rising index among
/// themselves.
pub(crate) fn seeded_order(rollouts: &[Rollout], seed: Seed) -> Vec<usize> {
    let mut by_index: Vec<(u32, usize, &str)> = (0..)
        .zip(rollouts)
        .map(|(position, one)| (one.index, position, one.text.as_str()))
        .collect();
    by_index.sort();
    let mut positions: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (_, position, text) in by_index {
        positions.entry(text).or_default().push_back(position);
    }
    let keys = |(text, positions): (&&'_ str, &VecDeque<usize>)| -> Vec<Seed> {
        let of_text = seed.derive(Digest::of(text.as_bytes()).as_str());
        (0..positions.len() as u64).map(|number| of_text.derive_index(number)).collect()
    };
    let keyed = positions.iter().flat_map(|of| keys(of).into_iter().map(|key| (key, *of.0)));
    let mut ordered: Vec<(Seed, &str)> = keyed.collect();
    ordered.sort();
    ordered.iter().filter_map(|(_, text)| positions.get_mut(text)?.pop_front()).collect()
}

#[cfg(test)]
mod tests {
    use preceptor_testkit::group;

    use super::*;

    fn shown(rollouts: &[Rollout], run: u64) -> Vec<(String, u32)> {
        let order = seeded_order(rollouts, Seed::root(run)).into_iter();
        order.map(|position| (rollouts[position].text.clone(), rollouts[position].index)).collect()
    }

    #[test]
    fn what_is_shown_does_not_depend_on_the_positions() {
        let rollouts = group(&["a", "b", "c", "b"]).rollouts;
        let mut turned = rollouts.clone();
        turned.reverse();
        turned.swap(0, 1);
        for run in 0..50 {
            assert_eq!(shown(&rollouts, run), shown(&turned, run));
        }
        let rollouts = group(&["a", "b", "c"]).rollouts;
        let orders: std::collections::BTreeSet<_> =
            (0..100).map(|run| shown(&rollouts, run)).collect();
        assert_eq!(orders.len(), 6, "every order occurs");
    }

    #[test]
    fn each_rollout_is_as_likely_the_first_as_any_other() {
        let rollouts = group(&["a", "b", "a", "a"]).rollouts;
        let num = (0..4000).filter(|run| shown(&rollouts, *run)[0].0 == "b").count() as f64;
        assert!((num / 4000.0 - 0.25).abs() < 0.03, "{num}");
    }
}
