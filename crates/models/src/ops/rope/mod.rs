//! The rotary embedding.

mod cpu;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod gpu;

use burn::tensor::{Device, Tensor, TensorData};

/// Angles of the rotary embedding for the rows of a batch.
#[derive(Clone, Debug)]
pub struct RopeAngles {
    /// `[r, head_dim / 2]`.
    pub cos: Tensor<2>,
    /// `[r, head_dim / 2]`.
    pub sin: Tensor<2>,
}

impl RopeAngles {
    /// Computes the angles `position · frequency`, in single precision as transformers does.
    pub fn new(positions: &[u32], frequencies: &[f32], device: &Device) -> Self {
        let shape = [positions.len(), frequencies.len()];
        let angles =
            positions.iter().flat_map(|p| frequencies.iter().map(|f| f64::from(*p as f32 * f)));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| {
                let (sin, cos) = angle.sin_cos();
                (sin as f32, cos as f32)
            })
            .unzip();
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }
}

/// Rotates the two halves of every head of every row.
///
/// # Shapes
///
/// `[r, heads · head_dim]` to the same.
pub(crate) fn rope(x_rd: &Tensor<2>, angles: &RopeAngles) -> Tensor<2> {
    if let Some(y_rd) = cpu::rope(x_rd, angles) {
        return y_rd;
    }
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(y_rd) = gpu::rope(x_rd, angles) {
        return y_rd;
    }
    let [rows, cols] = x_rd.dims();
    let half = angles.cos.dims()[1];
    let x_rhd = x_rd.clone().reshape([rows, cols / (2 * half), 2 * half]);
    let cos_r1h = angles.cos.clone().cast(x_rd.dtype()).reshape([rows, 1, half]);
    let sin_r1h = angles.sin.clone().cast(x_rd.dtype()).reshape([rows, 1, half]);
    let first = x_rhd.clone().narrow(2, 0, half);
    let second = x_rhd.narrow(2, half, half);
    let rotated = [
        first.clone() * cos_r1h.clone() - second.clone() * sin_r1h.clone(),
        second * cos_r1h + first * sin_r1h,
    ];
    Tensor::cat(rotated.to_vec(), 2).reshape([rows, cols])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu_support::testing::{largest_difference, random, to_f64};

    #[test]
    fn the_kernel_agrees_with_plain_burn() {
        let x = random([5, 96]);
        let frequencies: Vec<f32> = (0..16).map(|i| 1.0 / (i + 1) as f32).collect();
        let angles = RopeAngles::new(&[0, 1, 7, 100, 5], &frequencies, &x.device());
        let plain = RopeAngles { cos: to_f64(&angles.cos), sin: to_f64(&angles.sin) };
        assert!(largest_difference(rope(&x, &angles), rope(&to_f64(&x), &plain)) < 1e-5);
    }
}
