//! The coverage of 95% intervals of proportions.
//!
//! `cargo run --release --package preceptor-stats --example coverage` prints the whole table, with more draws.

mod draws;

use draws::{PROMPTS, SHARES, clustered_coverage, exact_coverage};

/// Draws of a clustered case: the standard error of its coverage is 0.8 %.
const NUM_DRAWS: usize = 700;

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn independent_prompts_are_covered_at_92_percent_everywhere_and_95_on_average() {
    for num_prompts in PROMPTS {
        let coverage = SHARES.map(|share| exact_coverage(num_prompts, share));
        let least = coverage.into_iter().fold(1.0, f64::min);
        assert!(least >= 0.92, "{num_prompts} prompts: {coverage:.3?}");
        let mean = average(&coverage);
        assert!((0.94..=0.96).contains(&mean), "{num_prompts} prompts: {mean:.4}");
    }
}

#[test]
fn seeds_that_agree_do_not_pass_for_more_prompts() {
    for num_prompts in PROMPTS {
        let shares = [0.02, 0.1, 0.35, 0.5, 0.8, 0.98];
        let coverage = shares.map(|share| clustered_coverage(num_prompts, share, 0.5, NUM_DRAWS));
        let least = coverage.into_iter().fold(1.0, f64::min);
        // Below 92 % only where a handful of prompts decides: shares of 2 % of 100 prompts.
        assert!(least >= 0.9, "{num_prompts} prompts: {coverage:.3?}");
        let mean = average(&coverage);
        assert!((0.935..=0.965).contains(&mean), "{num_prompts} prompts: {mean:.4}");
    }
}
