//! Named random streams.
//!
//! Every random draw of a run comes from a stream whose name is the path (run seed, stage, prompt,
//! rollout, ..). A stream is a function of its name alone: batch size, order, worker count and
//! resume cannot reach it. Seeds are derived with keyed blake3, streams are ChaCha8.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The root or an inner node of the tree of random streams.
///
/// ```
/// use preceptor_core::Seed;
/// let group = Seed::root(7).derive("rollouts").derive("math500/1");
/// assert_ne!(group.derive_index(0), group.derive_index(1));
/// assert_eq!(group, Seed::root(7).derive("rollouts").derive("math500/1"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of the tree for one run seed.
    pub fn root(run_seed: u64) -> Self {
        Self(*blake3::hash(&run_seed.to_le_bytes()).as_bytes())
    }

    /// The child called `name`.
    #[must_use]
    pub fn derive(&self, name: &str) -> Self {
        Self(*blake3::keyed_hash(&self.0, name.as_bytes()).as_bytes())
    }

    /// The child of number `index`; apart from every named child.
    #[must_use]
    pub fn derive_index(&self, index: u64) -> Self {
        let mut name = [0xff; 9];
        name[1..].copy_from_slice(&index.to_le_bytes());
        Self(*blake3::keyed_hash(&self.0, &name).as_bytes())
    }

    /// The bytes that name this node.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The node as a number below 2^31, for servers that take seeds as small integers.
    pub fn to_u31(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) >> 1
    }

    /// The stream of this node.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// Draws uniformly from `0..bound`, by rejection and so without bias.
    ///
    /// # Panics
    ///
    /// If `bound` is 0: there is nothing to draw.
    pub fn draw_below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "cannot draw from an empty range");
        let limit = u64::MAX - u64::MAX % bound;
        let mut attempt = 0;
        loop {
            let bytes = self.derive_index(attempt).0;
            let draw = u64::from_le_bytes(bytes[..8].try_into().expect("a digest has 32 bytes"));
            if draw < limit {
                return draw % bound;
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_streams_of_a_run_collide() {
        let mut seen = BTreeSet::new();
        for run in 0..4 {
            for stage in ["rollouts", "aggregate", "rollouts/0"] {
                for prompt in 0..50 {
                    let prompt = Seed::root(run).derive(stage).derive(&format!("p{prompt}"));
                    for rollout in 0..16 {
                        assert!(seen.insert(prompt.derive_index(rollout)));
                    }
                }
            }
        }
    }

    #[test]
    fn small_numbers_of_seeds_differ_and_fit_a_signed_integer() {
        let numbers: BTreeSet<_> =
            (0..1000).map(|i| Seed::root(7).derive_index(i).to_u31()).collect();
        assert_eq!(numbers.len(), 1000);
        assert!(numbers.iter().all(|&number| number < 1 << 31));
    }

    #[test]
    fn draws_cover_the_range_evenly() {
        let mut counts = [0_u32; 7];
        for i in 0..7000 {
            counts[Seed::root(i).draw_below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1150).contains(&count)), "{counts:?}");
    }
}
