//! Products of rows with a weight matrix, and low-rank adapters of it.

mod cpu;

use burn::tensor::{Tensor, TensorData};

/// A low-rank adapter of some rows of a matrix.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The first row of the matrix that it adapts.
    pub first_row: usize,
    /// `[rank, in]`.
    pub a: Tensor<2>,
    /// `[rows, rank]`.
    pub b: Tensor<2>,
    /// The factor of the product.
    pub scale: f32,
}

/// A weight matrix without bias: `y = x · Wᵀ`, plus the products of its adapters.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: LinearWeight,
    adapters: Vec<Adapter>,
}

#[derive(Clone, Debug)]
enum LinearWeight {
    /// `[out, in]`, as checkpoints store it: for other devices and for training.
    Rows(Tensor<2>),
    /// `[ceil(out / 16), in, 16]`: for the CPU kernel.
    Panels { panels: Tensor<3>, out: usize },
}

impl Linear {
    /// Wraps a checkpoint's `[out, in]` matrix as a burn tensor, through which gradients flow.
    pub fn from_tensor(weight_oi: Tensor<2>) -> Self {
        Self { weight: LinearWeight::Rows(weight_oi), adapters: Vec::new() }
    }

    /// Packs a matrix for the CPU kernel.
    pub fn packed(weight: &[f32], out: usize, inner: usize) -> Self {
        let panels = cpu::pack(weight, out, inner);
        Self { weight: LinearWeight::Panels { panels, out }, adapters: Vec::new() }
    }

    /// Adds an adapter of rows below those of the adapters before it.
    ///
    /// # Panics
    ///
    /// If its rows don't begin below them or end outside of the matrix.
    pub fn adapt(&mut self, adapter: Adapter) {
        let end = |adapter: &Adapter| adapter.first_row + adapter.b.dims()[0];
        assert!(self.adapters.last().is_none_or(|last| end(last) <= adapter.first_row));
        assert!(end(&adapter) <= self.shape()[0], "the rows are outside of the matrix");
        self.adapters.push(adapter);
    }

    /// Computes the sum that the adapters add to `x · Wᵀ`.
    fn adaptation(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        let (rows, device) = (x_rd.dims()[0], x_rd.device().inner());
        let mut parts = Vec::new();
        let mut column = 0;
        let fill = |parts: &mut Vec<Tensor<2>>, column: usize, to: usize| {
            if to > column {
                parts.push(Tensor::zeros([rows, to - column], (&device, x_rd.dtype())));
            }
        };
        for Adapter { first_row, a, b, scale } in &self.adapters {
            fill(&mut parts, column, *first_row);
            let inner = Self::from_tensor(a.clone()).forward(x_rd);
            parts.push(Self::from_tensor(b.clone()).forward(&inner) * *scale);
            column = first_row + b.dims()[0];
        }
        fill(&mut parts, column, self.shape()[0]);
        Tensor::cat(parts, 1)
    }

    /// Returns the weight as `[out, in]`, without adapters; copied if it is packed.
    pub fn to_tensor(&self) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => weight.clone(),
            LinearWeight::Panels { panels, out } => {
                let [_, inner, _] = panels.dims();
                let rows: Vec<u32> = (0..u32::try_from(*out).expect("fits token ids")).collect();
                self.rows(&rows).reshape([*out, inner])
            }
        }
    }

    /// Returns `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        match &self.weight {
            LinearWeight::Rows(weight) => weight.dims(),
            LinearWeight::Panels { panels, out } => [*out, panels.dims()[1]],
        }
    }

    /// Multiplies rows with the matrix and adds the products of the adapters.
    ///
    /// # Shapes
    ///
    /// `[r, in]` to `[r, out]`.
    pub fn forward(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        let y = self.product(x_rd);
        if self.adapters.is_empty() { y } else { y + self.adaptation(x_rd) }
    }

    fn product(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => cpu::linear(x_rd, weight)
                .unwrap_or_else(|| x_rd.clone().matmul(weight.clone().transpose())),
            LinearWeight::Panels { panels, out } => cpu::packed_linear(x_rd, panels, *out),
        }
    }

    /// Looks up rows of the weight, as an embedding does.
    ///
    /// # Shapes
    ///
    /// `[ids, in]`.
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => {
                let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                let data = TensorData::new(ids.clone(), [ids.len()]);
                weight.clone().select(0, Tensor::from_data(data, &weight.device()))
            }
            LinearWeight::Panels { panels, out } => cpu::packed_rows(panels, *out, ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu_support::testing::{largest_difference, random, to_f64};
    use crate::ops::to_vec;

    #[test]
    fn packed_weights_agree_with_plain_burn() {
        let (x, weight) = (random([5, 96]), random([40, 96]));
        let packed = Linear::packed(&to_vec(weight.clone()), 40, 96);
        let plain = Linear::from_tensor(to_f64(&weight));
        let difference = largest_difference(packed.forward(&x), plain.forward(&to_f64(&x)));
        assert!(difference < 1e-4, "{difference}");
        assert_eq!(to_vec(packed.to_tensor()), to_vec(weight));
        assert_eq!(to_vec(packed.rows(&[3, 39])), to_vec(plain.rows(&[3, 39])));
    }

    #[test]
    fn an_adapter_changes_its_own_rows_only() {
        let (x, weight) = (random([5, 96]), random([40, 96]));
        let (a, b) = (random([2, 96]), random([8, 2]));
        let plain = Linear::from_tensor(weight.clone());
        let mut adapted = plain.clone();
        adapted.adapt(Adapter { first_row: 16, a: a.clone(), b: b.clone(), scale: 0.5 });
        let difference = adapted.forward(&x) - plain.forward(&x);
        let product = x.matmul(a.transpose()).matmul(b.transpose()) * 0.5;
        assert!(largest_difference(difference.clone().narrow(1, 16, 8), product) < 1e-4);
        for outside in [difference.clone().narrow(1, 0, 16), difference.narrow(1, 24, 16)] {
            assert!(to_vec(outside).iter().all(|value| *value == 0.0));
        }
    }
}
