//! Coverage of the intervals of proportions.

use preceptor_stats::clustered_proportion;

/// True shares, from the middle to the ends.
pub(crate) const SHARES: [f64; 13] =
    [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98];
/// Numbers of prompts.
pub(crate) const PROMPTS: [usize; 3] = [30, 100, 500];
/// Seeds of a prompt in the clustered case.
const SEEDS: usize = 3;

fn covers(clusters: &[Vec<f64>], share: f64) -> bool {
    let interval = clustered_proportion(clusters).and_then(|estimate| estimate.interval);
    interval.is_some_and(|interval| (interval.low..=interval.high).contains(&share))
}

/// Returns the exact coverage with one value a prompt: the sum of the binomial probabilities of all outcomes
/// whose interval contains the share.
pub(crate) fn exact_coverage(num_prompts: usize, share: f64) -> f64 {
    // As a logarithm, since it may be far below the smallest float.
    let mut probability = num_prompts as f64 * (1.0 - share).ln();
    let mut covered = 0.0;
    for right in 0..=num_prompts {
        let value = |i: usize| vec![f64::from(u8::from(i < right))];
        if covers(&(0..num_prompts).map(value).collect::<Vec<_>>(), share) {
            covered += probability.exp();
        }
        let odds = share / (1.0 - share);
        probability += ((num_prompts - right) as f64 / (right + 1) as f64 * odds).ln();
    }
    covered
}

/// Returns the share of draws whose interval contains the share, with three seeds of a prompt. With the
/// probability `alike` all seeds of a prompt agree, which is also the correlation between them.
pub(crate) fn clustered_coverage(
    num_prompts: usize,
    share: f64,
    alike: f64,
    num_draws: usize,
) -> f64 {
    let mut state = 0x9e37_79b9_u64 ^ ((num_prompts as u64) << 32) ^ share.to_bits();
    let mut uniform = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut covered = 0;
    for _ in 0..num_draws {
        let clusters: Vec<Vec<f64>> = (0..num_prompts)
            .map(|_| {
                if uniform() < alike {
                    return vec![f64::from(u8::from(uniform() < share)); SEEDS];
                }
                (0..SEEDS).map(|_| f64::from(u8::from(uniform() < share))).collect()
            })
            .collect();
        covered += usize::from(covers(&clusters, share));
    }
    covered as f64 / num_draws as f64
}
