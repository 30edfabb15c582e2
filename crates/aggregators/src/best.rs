//! The best of several, with seeded ties.

use preceptor_core::Seed;

/// A choice by highest number.
pub(crate) struct Best {
    /// Index of the best value.
    pub(crate) index: usize,
    /// True if a random draw decided between equal values.
    pub(crate) tied: bool,
}

/// Returns the index of the highest number; a uniform draw from `seed` among those that are exactly equal.
/// Returns none if there is no value at all.
pub(crate) fn best(numbers: &[Option<f64>], seed: Seed) -> Option<Best> {
    let highest = numbers.iter().flatten().copied().max_by(f64::total_cmp)?;
    let is_highest = |index: &usize| numbers[*index].is_some_and(|number| number == highest);
    let indices: Vec<usize> = (0..numbers.len()).filter(is_highest).collect();
    let drawn = seed.derive("tie").draw_below(indices.len() as u64) as usize;
    Some(Best { index: indices[drawn], tied: indices.len() > 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_wins_and_ties_are_drawn() {
        let numbers = [Some(0.1), None, Some(0.7), Some(0.7)];
        let mut seen = [0; 4];
        for run in 0..200 {
            let best = best(&numbers, Seed::root(run)).unwrap();
            assert!(best.tied);
            seen[best.index] += 1;
        }
        assert_eq!((seen[0], seen[1]), (0, 0));
        assert!(seen[2] > 60 && seen[3] > 60, "{seen:?}");
        assert!(best(&[None, None], Seed::root(0)).is_none());
    }
}
