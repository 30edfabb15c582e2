//! pass@k: the chance that at least one of k rollouts is right.

/// Returns the unbiased estimate of pass@k from `num_rollouts` of which `num_correct` are right
/// (Chen et al. 2021): `1 - C(n-c, k) / C(n, k)`.
///
/// ```
/// assert_eq!(preceptor_stats::pass_at_k(8, 2, 1), 0.25);
/// assert_eq!(preceptor_stats::pass_at_k(8, 2, 8), 1.0);
/// ```
///
/// # Panics
///
/// If `k` or `num_correct` is larger than `num_rollouts`.
pub fn pass_at_k(num_rollouts: u32, num_correct: u32, k: u32) -> f64 {
    assert!(k <= num_rollouts && num_correct <= num_rollouts, "counts are of the rollouts drawn");
    if num_rollouts - num_correct < k {
        return 1.0;
    }
    let none_right: f64 = (0..k)
        .map(|i| f64::from(num_rollouts - num_correct - i) / f64::from(num_rollouts - i))
        .product();
    1.0 - none_right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_share_of_subsets_with_a_right_one() {
        for n in 1..=8_u32 {
            for c in 0..=n {
                for k in 1..=n {
                    let subsets = (0_u32..1 << n).filter(|s| s.count_ones() == k);
                    let (mut all, mut hits) = (0, 0);
                    for subset in subsets {
                        all += 1;
                        hits += u32::from(subset & ((1 << c) - 1) != 0);
                    }
                    let share = f64::from(hits) / f64::from(all);
                    assert!((pass_at_k(n, c, k) - share).abs() < 1e-12, "{n} {c} {k}");
                }
            }
        }
    }
}
