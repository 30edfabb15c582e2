//! Sums: of the residual stream, with a bias, and of gradients.

use burn::tensor::Tensor;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::cpu_support::{filled_rows, on_cpu, rows_of};
use crate::kernels::{Isa, RowsMut, RowsRef, TASK_SIZE, for_each_row, per_isa};

/// Computes `x + y`, the sum of the residual stream and the output of a block.
///
/// # Shapes
///
/// `[r, d]` and `[r, d]` to the same.
pub(crate) fn add(x_rd: Tensor<2>, y_rd: Tensor<2>) -> Tensor<2> {
    if let (Some(x), Some(y)) = (on_cpu(&x_rd), on_cpu(&y_rd))
        && let (Some(x), Some(y)) = (rows_of(&x), rows_of(&y))
    {
        return filled_rows(x.rows(), x.cols(), |out| add_rows(Isa::best(), x, y, out));
    }
    x_rd + y_rd
}

/// Adds a bias to every row.
///
/// # Shapes
///
/// `[r, n]` and `[n]` to `[r, n]`.
pub(crate) fn add_bias(x_rn: Tensor<2>, bias_n: &Tensor<1>) -> Tensor<2> {
    let bias_n = bias_n.clone().cast(x_rn.dtype());
    x_rn + bias_n.unsqueeze()
}

/// Adds a gradient to a sum of gradients; an empty one stands for zeros.
pub(crate) fn add_gradient(sum: &mut Vec<f32>, gradient: Vec<f32>) {
    if sum.is_empty() {
        *sum = gradient;
    } else if !gradient.is_empty() {
        add_to(Isa::best(), sum, &gradient);
    }
}

/// `out = x + y`.
fn add_rows(isa: Isa, x: RowsRef<'_>, y: RowsRef<'_>, out: RowsMut) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "summands differ in shape");
    for_each_row(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, x.cols()) };
        add_row(isa, x.row(row), y.row(row), out);
    });
}

per_isa! {
    fn add_row(x: &[f32], y: &[f32], out: &mut [f32]) {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = x + y;
        }
    }
}

/// `sum += x`.
fn add_to(isa: Isa, sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "summands differ in length");
    sum.par_chunks_mut(TASK_SIZE)
        .zip(x.par_chunks(TASK_SIZE))
        .for_each(|(sum, x)| add_to_chunk(isa, sum, x));
}

per_isa! {
    /// `sum += x`, on one thread.
    pub(crate) fn add_to_chunk(sum: &mut [f32], x: &[f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu_support::testing::{random, to_f64};
    use crate::ops::to_vec;

    #[test]
    fn the_kernel_agrees_with_plain_burn() {
        let x = random([5, 96]);
        let plain = to_f64(&x) + to_f64(&x);
        assert_eq!(to_vec(add(x.clone(), x)), to_vec(plain));
    }

    #[test]
    fn a_bias_is_added_to_every_row() {
        let device = Default::default();
        let x = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0]], &device);
        let bias = Tensor::<1>::from_data([0.5, -1.0], &device);
        assert_eq!(to_vec(add_bias(x, &bias)), [1.5, 1.0, 3.5, 3.0]);
    }

    #[test]
    fn an_empty_gradient_stands_for_zeros() {
        let mut sum = Vec::new();
        add_gradient(&mut sum, vec![1.0, 2.0]);
        add_gradient(&mut sum, Vec::new());
        add_gradient(&mut sum, vec![0.5, -2.0]);
        assert_eq!(sum, [1.5, 0.0]);
    }
}
