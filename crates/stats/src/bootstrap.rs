//! The bootstrap of any statistic of rows, with a generator that is simple to implement in another
//! language.
//!
//! Resample `r` of `n` rows has the row numbers
//!
//! ```text
//! floor( n * (x_i >> 11) / 2^53 )      x_i: the i-th output of SplitMix64 seeded with seeds[r]
//! ```

/// The SplitMix64 generator (Steele, Lea and Flood 2014).
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Returns the row numbers of one resample of `num_rows` rows.
pub fn resample(num_rows: usize, seed: u64) -> impl Iterator<Item = usize> {
    let mut generator = SplitMix64(seed);
    let scale = num_rows as f64 / (1_u64 << 53) as f64;
    (0..num_rows).map(move |_| ((generator.next() >> 11) as f64 * scale) as usize)
}

/// Returns the standard deviation (over n, not n - 1) of `statistic` over one resample of
/// `num_rows` rows for each seed; none without a row or a seed.
pub fn bootstrap_std(
    num_rows: usize,
    seeds: &[u64],
    statistic: impl Fn(&[usize]) -> f64,
) -> Option<f64> {
    if num_rows == 0 || seeds.is_empty() {
        return None;
    }
    let value = |&seed: &u64| statistic(&resample(num_rows, seed).collect::<Vec<_>>());
    let values: Vec<f64> = seeds.iter().map(value).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Some(variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 1234567 of the reference implementation in C.
        let mut generator = SplitMix64(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_spread_of_a_mean_is_its_standard_error() {
        let rows: Vec<f64> = (0..200).map(|i| f64::from(i % 10)).collect();
        let seeds: Vec<u64> = (0..2000).collect();
        let mean = |rows: &[f64], indices: &[usize]| {
            indices.iter().map(|&i| rows[i]).sum::<f64>() / indices.len() as f64
        };
        let std = bootstrap_std(rows.len(), &seeds, |indices| mean(&rows, indices)).unwrap();
        let expected = (8.25_f64 / 200.0).sqrt();
        assert!((std / expected - 1.0).abs() < 0.05, "{std} {expected}");
    }

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(bootstrap_std(0, &[1], |_| 0.0), None);
        assert_eq!(bootstrap_std(3, &[], |_| 0.0), None);
    }
}
