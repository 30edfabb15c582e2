//! The order in which rollouts are shown to a model.
//!
//! It is drawn from a seed and the texts alone, not from their places: a model that prefers what it
//! reads first then prefers no stream, and permuting a group changes nothing that is shown.

use preceptor_core::{Digest, Seed};

/// The places of `texts` in a seeded order. Equal texts keep the order they have.
pub(crate) fn seeded_order(texts: &[&str], seed: Seed) -> Vec<usize> {
    let key = |text: &str| seed.derive(Digest::of(text.as_bytes()).as_str());
    let mut keyed: Vec<(Seed, usize)> =
        texts.iter().enumerate().map(|(place, text)| (key(text), place)).collect();
    keyed.sort();
    keyed.into_iter().map(|(_, place)| place).collect()
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
}
