//! Similarity of two texts.
//!
//! Dice's coefficient over the multisets of lower-cased words and pairs of neighbouring words:
//!
//! ```text
//! sim(a, b) = 2 |A ∩ B| / (|A| + |B|)        in [0, 1]; 1 for equal texts, two empty ones included
//! ```
//!
//! Words are maximal runs of letters and digits; everything else separates them. Word order counts
//! through the pairs, length through the denominator.

use std::collections::BTreeMap;

/// The counted words and pairs of a text.
pub(crate) struct Features {
    counts: BTreeMap<(String, String), u32>,
    total: u64,
}

impl Features {
    /// Computes the features of `text`.
    pub(crate) fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let words: Vec<&str> =
            lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let mut counts = BTreeMap::new();
        for word in &words {
            *counts.entry(((*word).to_owned(), String::new())).or_insert(0) += 1;
        }
        for pair in words.windows(2) {
            *counts.entry((pair[0].to_owned(), pair[1].to_owned())).or_insert(0) += 1;
        }
        let total = counts.values().map(|&count| u64::from(count)).sum();
        Self { counts, total }
    }

    /// Returns Dice's coefficient with another text's.
    pub(crate) fn similarity(&self, other: &Self) -> f64 {
        if self.total + other.total == 0 {
            return 1.0;
        }
        let shared = self.counts.iter().filter_map(|(feature, &count)| {
            other.counts.get(feature).map(|&in_other| u64::from(count.min(in_other)))
        });
        2.0 * shared.sum::<u64>() as f64 / (self.total + other.total) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn similarity(a: &str, b: &str) -> f64 {
        Features::of(a).similarity(&Features::of(b))
    }

    #[test]
    fn words_and_their_neighbours_count() {
        // Words a b c, pairs ab bc; words a c b, pairs ac cb: three of five are shared.
        assert!((similarity("a b c", "A, c b!") - 0.6).abs() < 1e-12);
        assert_eq!(similarity("", "..."), 1.0);
        assert_eq!(similarity("a", ""), 0.0);
    }

    proptest! {
        #[test]
        fn it_is_symmetric_in_range_and_one_for_equal_texts(a in ".{0,40}", b in ".{0,40}") {
            let ab = similarity(&a, &b);
            prop_assert!((0.0..=1.0).contains(&ab));
            prop_assert_eq!(ab, similarity(&b, &a));
            prop_assert_eq!(similarity(&a, &a), 1.0);
        }
    }
}
