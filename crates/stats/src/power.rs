//! The smallest difference that an experiment can detect.

/// Normal quantiles of a two-sided test at 5% with 80% power.
const Z_LEVEL_PLUS_POWER: f64 = 1.959_964 + 0.841_621;

/// Returns the smallest true difference of two paired proportions that a test over `num_prompts`
/// finds with 80% power at the 5% level, when the conditions disagree on a share `disagreement`
/// of the prompts: `2.80 sqrt(disagreement / n)`. Averaging over seeds makes it smaller, never
/// larger.
///
/// ```
/// let points = preceptor_stats::detectable_difference(500, 0.2);
/// assert!((points - 0.056).abs() < 0.001);
/// ```
pub fn detectable_difference(num_prompts: usize, disagreement: f64) -> f64 {
    Z_LEVEL_PLUS_POWER * (disagreement / num_prompts.max(1) as f64).sqrt()
}
