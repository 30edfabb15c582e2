//! Vectors of 16 floats, which every kernel is written over.

/// Output columns of a panel: one vector of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// Returns the sum of 16 lanes, always added in the same order.
#[inline(always)]
pub(crate) fn sum_lanes(lanes: &[f32; LANES]) -> f32 {
    let mut eight = [0.0; 8];
    for i in 0..8 {
        eight[i] = lanes[i] + lanes[i + 8];
    }
    let four = [eight[0] + eight[4], eight[1] + eight[5], eight[2] + eight[6], eight[3] + eight[7]];
    (four[0] + four[2]) + (four[1] + four[3])
}
