//! Several comparisons at once.

/// Holm's step-down adjustment of `p_values`: with it, the chance of any false claim among them
/// stays below the level.
///
/// ```
/// assert_eq!(preceptor_stats::holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut floor = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor.max((p_values[i] * (p_values.len() - rank) as f64).min(1.0));
        adjusted[i] = floor;
    }
    adjusted
}
