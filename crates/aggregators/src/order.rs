//! The order in which rollouts are shown to a model.
//!
//! It is drawn from a seed and the texts alone, not from their places: a model that prefers what it
//! reads first then prefers no stream, and permuting a group changes nothing that is shown. Every order of
//! the rollouts is as likely as any other, equal ones counted each.

use std::collections::{BTreeMap, VecDeque};

use preceptor_core::{Digest, Seed};

/// The version of the order: what was shown in another one is not what would be shown now.
pub const VERSION: u32 = 2;

/// The places of `texts` in a seeded order. Equal texts keep the order they have among themselves.
pub(crate) fn seeded_order(texts: &[&str], seed: Seed) -> Vec<usize> {
    let mut places: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (place, text) in texts.iter().enumerate() {
        places.entry(text).or_default().push_back(place);
    }
    let keys = |(text, places): (&&'_ str, &VecDeque<usize>)| -> Vec<Seed> {
        let of_text = seed.derive(Digest::of(text.as_bytes()).as_str());
        (0..places.len() as u64).map(|number| of_text.derive_index(number)).collect()
    };
    let keyed = places.iter().flat_map(|of| keys(of).into_iter().map(|key| (key, *of.0)));
    let mut drawn: Vec<(Seed, &str)> = keyed.collect();
    drawn.sort();
    drawn.iter().filter_map(|(_, text)| places.get_mut(text)?.pop_front()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_does_not_depend_on_the_places() {
        let shown = |texts: &[&str], run| {
            let order = seeded_order(texts, Seed::root(run));
            order.into_iter().map(|place| texts[place].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&["a", "b", "c", "b"], 1), shown(&["b", "c", "b", "a"], 1));
        let orders: std::collections::BTreeSet<_> =
            (0..100).map(|run| shown(&["a", "b", "c"], run)).collect();
        assert_eq!(orders.len(), 6, "every order occurs");
    }

    #[test]
    fn each_rollout_is_as_likely_the_first_as_any_other() {
        let texts = ["a", "b", "a", "a"];
        let first = |run| texts[seeded_order(&texts, Seed::root(run))[0]];
        let num = (0..4000).filter(|run| first(*run) == "b").count() as f64;
        assert!((num / 4000.0 - 0.25).abs() < 0.03, "{num}");
        // Among themselves equal texts keep their order.
        for run in 0..20 {
            let order = seeded_order(&texts, Seed::root(run));
            let equal: Vec<_> = order.into_iter().filter(|place| *place != 1).collect();
            assert_eq!(equal, [0, 2, 3]);
        }
    }
}
