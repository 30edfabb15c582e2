//! Root-mean-square norm, rotary embedding, sums and the gated activation, row by row.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::exp::exp_f32;
use super::isa::per_isa;
use super::softmax::sum_lanes;
use super::{Isa, LANES, RowsMut, RowsRef, for_each_task};

/// Numbers a task should have at least.
const TASK_SIZE: usize = 1 << 14;

/// Runs `run` for every row, several rows a task.
pub(crate) fn by_rows(rows: usize, cols: usize, run: impl Fn(usize) + Sync + Send) {
    let rows_a_task = (TASK_SIZE / cols.max(1)).max(1);
    let tasks = rows.div_ceil(rows_a_task);
    for_each_task(tasks, tasks > 1, |task| {
        for row in task * rows_a_task..((task + 1) * rows_a_task).min(rows) {
            run(row);
        }
    });
}

/// `out = x / sqrt(mean(x²) + eps) · weight`.
pub(crate) fn rms_norm(isa: Isa, x: RowsRef<'_>, weight: &[f32], eps: f32, out: RowsMut) {
    assert_eq!(x.cols(), weight.len(), "norm weight has another width");
    by_rows(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, x.cols()) };
        rms_norm_row(isa, x.row(row), weight, eps, out);
    });
}

per_isa! {
    fn rms_norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum = x.mul_add(*x, *sum);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum = x.mul_add(*x, *sum);
        }
        let scale = 1.0 / (sum_lanes(&sums) / x.len() as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x * scale) * weight;
        }
    }
}

/// Rotates the two halves of each head by the row's angles.
pub(crate) fn rope(isa: Isa, x: RowsRef<'_>, cos: RowsRef<'_>, sin: RowsRef<'_>, out: RowsMut) {
    by_rows(x.rows(), x.cols(), |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, x.cols()) };
        rope_row(isa, x.row(row), cos.row(row), sin.row(row), out);
    });
}

per_isa! {
    fn rope_row(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
        let half = cos.len();
        for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
            let (x1, x2) = x.split_at(half);
            let (out1, out2) = out.split_at_mut(half);
            for i in 0..half {
                out1[i] = x1[i] * cos[i] - x2[i] * sin[i];
                out2[i] = x2[i] * cos[i] + x1[i] * sin[i];
            }
        }
    }
}

/// `out = x + y`.
pub(crate) fn add(isa: Isa, x: RowsRef<'_>, y: RowsRef<'_>, out: RowsMut) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "summands differ in shape");
    by_rows(x.rows(), x.cols(), |row| {
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
pub(crate) fn add_to(isa: Isa, sum: &mut [f32], x: &[f32]) {
    assert_eq!(sum.len(), x.len(), "summands differ in length");
    sum.par_chunks_mut(TASK_SIZE)
        .zip(x.par_chunks(TASK_SIZE))
        .for_each(|(sum, x)| add_to_chunk(isa, sum, x));
}

per_isa! {
    pub(crate) fn add_to_chunk(sum: &mut [f32], x: &[f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

/// What a gate goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// The Gaussian error linear unit by its approximation with a hyperbolic tangent,
    /// `x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`, which is `x · σ(2 √(2/π) (x + 0.044715 x³))`.
    GeluTanh,
}

/// `2 √(2/π)`.
pub(super) const GELU_SCALE: f32 = 1.595_769_2;
pub(super) const GELU_CUBE: f32 = 0.044_715;

/// `activation(gate) · up`, where a row of `gate_up` is all of gate, then all of up.
pub(crate) fn gated(isa: Isa, activation: Activation, gate_up: RowsRef<'_>, out: RowsMut) {
    let width = gate_up.cols() / 2;
    by_rows(gate_up.rows(), width, |row| {
        // SAFETY: each row is written by one task.
        let out = unsafe { out.slice(row, 0, width) };
        let (gate, up) = gate_up.row(row).split_at(width);
        match activation {
            Activation::Silu => silu_mul_row(isa, gate, up, out),
            Activation::GeluTanh => gelu_mul_row(isa, gate, up, out),
        }
    });
}

per_isa! {
    fn silu_mul_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp_f32(-gate)) * up;
        }
    }
}

per_isa! {
    fn gelu_mul_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let inner = GELU_SCALE * (gate + GELU_CUBE * (gate * gate * gate));
            *out = gate / (1.0 + exp_f32(-inner)) * up;
        }
    }
}
