//! Root-mean-square norm: `x / sqrt(mean(x²) + eps) · weight` for every row.

mod cpu;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod gpu;

use burn::tensor::Tensor;

use super::convert::widen;

/// Normalises every row and multiplies it with `weight`.
///
/// # Shapes
///
/// `[r, d]`, `[d]` to `[r, d]`.
pub(crate) fn rms_norm(x_rd: &Tensor<2>, weight_d: &Tensor<1>, eps: f64) -> Tensor<2> {
    if let Some(y_rd) = cpu::rms_norm(x_rd, weight_d, eps) {
        return y_rd;
    }
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(y_rd) = gpu::rms_norm(x_rd, weight_d, eps) {
        return y_rd;
    }
    let wide_rd = widen(x_rd.clone());
    let mean_r1 = wide_rd.clone().powi_scalar(2).mean_dim(1);
    let scale_r1 = (mean_r1 + eps).sqrt().recip();
    (wide_rd * scale_r1 * weight_d.clone().unsqueeze()).cast(x_rd.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu_support::testing::{largest_difference, random, to_f64};

    #[test]
    fn the_kernel_agrees_with_plain_burn() {
        let (x, weight) = (random([5, 96]), random([96]));
        let plain = rms_norm(&to_f64(&x), &to_f64(&weight), 1e-5);
        assert!(largest_difference(rms_norm(&x, &weight, 1e-5), plain) < 1e-5);
    }
}
