//! Gated activation: `activation(gate) · up`.

mod cpu;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod gpu;

use burn::tensor::{Tensor, activation};

/// The activation of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// The Gaussian error linear unit by its approximation with a hyperbolic tangent,
    /// `x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`, which is `x · σ(2 √(2/π) (x + 0.044715 x³))`.
    GeluTanh,
}

/// Computes `activation(gate) · up` of rows that hold gate, then up.
///
/// # Shapes
///
/// `[r, 2 d]` to `[r, d]`.
pub(crate) fn gated(gate_up: &Tensor<2>, activation: Activation) -> Tensor<2> {
    if let Some(y_rd) = cpu::gated(gate_up, activation) {
        return y_rd;
    }
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if let Some(y_rd) = gpu::gated(gate_up, activation) {
        return y_rd;
    }
    let width = gate_up.dims()[1] / 2;
    let gate = gate_up.clone().narrow(1, 0, width);
    let gate = match activation {
        Activation::Silu => activation::silu(gate),
        Activation::GeluTanh => activation::gelu_approximate(gate),
    };
    gate * gate_up.clone().narrow(1, width, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu_support::testing::{largest_difference, random, to_f64};
    use crate::ops::to_vec;

    #[test]
    fn the_kernel_agrees_with_plain_burn() {
        let x = random([5, 96]);
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let plain = gated(&to_f64(&x), activation);
            let difference = largest_difference(gated(&x, activation), plain);
            assert!(difference < 1e-5, "{activation:?}: {difference}");
        }
    }

    #[test]
    fn the_kernel_reads_views_like_copies() {
        let x = random([6, 64]);
        let view = x.clone().narrow(1, 16, 32);
        let copy: Tensor<2> = Tensor::from_data(view.to_data(), &x.device());
        let silu = |x| to_vec(gated(x, Activation::Silu));
        assert_eq!(silu(&view), silu(&copy));
    }
}
