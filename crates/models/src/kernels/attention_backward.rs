//! Gradients of causal attention over a prompt and the rollouts that share it.
//!
//! Weights are computed again from queries and keys rather than kept. A family (a prompt and what
//! continues it) and a key head make a task, its parts one after the other, so that gradients of the
//! shared keys and values are sums in a fixed order.

use super::elementwise::add_to_chunk;
use super::gemm::PanelProduct;
use super::isa::per_isa;
use super::softmax::{exp_scores, sum_lanes};
use super::{Isa, LANES, RowsMut, RowsRef};

/// Query rows that are worked on at once.
const BLOCK: usize = 64;

/// Consecutive rows of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The first row.
    pub(crate) first_row: usize,
    /// Number of rows.
    pub(crate) len: usize,
}

/// A prompt and its continuations, each of which sees the prompt and itself.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// The rows that all see.
    pub(crate) prompt: Part,
    /// What follows the prompt.
    pub(crate) continuations: Vec<Part>,
}

/// Queries, keys, values and the gradient of the output, as the forward pass had them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionInputs<'a> {
    pub(crate) q: RowsRef<'a>,
    pub(crate) k: RowsRef<'a>,
    pub(crate) v: RowsRef<'a>,
    pub(crate) grad: RowsRef<'a>,
}

/// Where the gradients of queries, keys and values go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionGradients {
    pub(crate) q: RowsMut,
    pub(crate) k: RowsMut,
    pub(crate) v: RowsMut,
}

/// One key head and the query heads that share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadGroup {
    /// The key head.
    pub(crate) kv_head: usize,
    /// Query heads of a key head.
    pub(crate) heads: usize,
    /// Numbers of a head, a multiple of 16.
    pub(crate) head_dim: usize,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// How many keys back a row sees, its own included; none: all.
    pub(crate) window: Option<usize>,
}

/// Adds the gradients of one family under one key head; those of its keys and values must hold zeros.
pub(crate) fn attend_backward(
    isa: Isa,
    family: &Family,
    group: HeadGroup,
    inputs: AttentionInputs<'_>,
    gradients: AttentionGradients,
) {
    let HeadGroup { kv_head, heads, head_dim, .. } = group;
    assert!(head_dim.is_multiple_of(LANES), "head dimension is not a multiple of 16");
    let kv_column = kv_head * head_dim;
    let nothing = Part { first_row: 0, len: 0 };
    let parts = std::iter::once((nothing, family.prompt))
        .chain(family.continuations.iter().map(|part| (family.prompt, *part)));
    for (before, part) in parts.filter(|(_, part)| part.len > 0) {
        let rows = [before, part];
        let seen = before.len + part.len;
        let key_rows = gather(inputs.k, &rows, kv_column, head_dim);
        let value_rows = gather(inputs.v, &rows, kv_column, head_dim);
        let keys = Keys {
            rows: seen,
            keys_out: as_outputs(&key_rows, head_dim),
            keys_in: as_inputs(&key_rows, head_dim),
            values_out: as_outputs(&value_rows, head_dim),
        };
        let mut key_grads = vec![0.0_f32; seen * head_dim];
        let mut value_grads = vec![0.0_f32; seen * head_dim];
        for head in kv_head * heads..(kv_head + 1) * heads {
            for first in (0..part.len).step_by(BLOCK) {
                let len = BLOCK.min(part.len - first);
                let block =
                    Block { row: part.first_row + first, len, position: before.len + first };
                block.backward(
                    isa,
                    group,
                    head,
                    inputs,
                    &keys,
                    gradients.q,
                    &mut key_grads,
                    &mut value_grads,
                );
            }
        }
        let mut from = 0;
        for rows in rows {
            for row in 0..rows.len {
                let at = (from + row) * head_dim;
                // SAFETY: this task alone writes these columns of the family's rows.
                let (k, v) = unsafe {
                    (
                        gradients.k.slice(rows.first_row + row, kv_column, head_dim),
                        gradients.v.slice(rows.first_row + row, kv_column, head_dim),
                    )
                };
                add_to_chunk(isa, k, &key_grads[at..][..head_dim]);
                add_to_chunk(isa, v, &value_grads[at..][..head_dim]);
            }
            from += rows.len;
        }
    }
}

/// One head's keys and values that a part sees, laid out for products.
struct Keys {
    rows: usize,
    /// See [`as_outputs`].
    keys_out: Vec<f32>,
    /// See [`as_inputs`].
    keys_in: Vec<f32>,
    /// See [`as_outputs`].
    values_out: Vec<f32>,
}

/// One head of the rows of parts, row after row.
fn gather(x: RowsRef<'_>, parts: &[Part], column: usize, head_dim: usize) -> Vec<f32> {
    let numbers = parts.iter().flat_map(|part| part.first_row..part.first_row + part.len);
    let mut rows = Vec::new();
    for row in numbers {
        rows.extend_from_slice(&x.row(row)[column..][..head_dim]);
    }
    rows
}

/// `[rows][width]` to `[rows / 16][width][16]`: rows are the outputs of a product.
fn as_outputs(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut packed = vec![0.0_f32; rows.next_multiple_of(LANES) * width];
    for (number, row) in x.chunks_exact(width).enumerate() {
        let panel = &mut packed[number / LANES * width * LANES..];
        for (value, lanes) in row.iter().zip(panel.chunks_exact_mut(LANES)) {
            lanes[number % LANES] = *value;
        }
    }
    packed
}

/// `[rows][width]` to `[width / 16][rows][16]`: rows are the inputs of a product, summed over.
fn as_inputs(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut packed = vec![0.0_f32; rows * width];
    for (number, row) in x.chunks_exact(width).enumerate() {
        for (panel, values) in row.chunks_exact(LANES).enumerate() {
            packed[(panel * rows + number) * LANES..][..LANES].copy_from_slice(values);
        }
    }
    packed
}

/// Some queries of a part.
#[derive(Clone, Copy)]
struct Block {
    /// The first row of the pass.
    row: usize,
    len: usize,
    /// The position of the first query among the part's keys.
    position: usize,
}

impl Block {
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one formula")]
    fn backward(
        self,
        isa: Isa,
        group: HeadGroup,
        head: usize,
        inputs: AttentionInputs<'_>,
        keys: &Keys,
        q_grads: RowsMut,
        key_grads: &mut [f32],
        value_grads: &mut [f32],
    ) {
        let HeadGroup { head_dim, scale, window, .. } = group;
        let column = head * head_dim;
        let seen = self.position + self.len;
        let stride = seen.next_multiple_of(LANES);
        let part = [Part { first_row: self.row, len: self.len }];
        let q = gather(inputs.q, &part, column, head_dim);
        let grad = gather(inputs.grad, &part, column, head_dim);

        let whole = |panels: &Vec<f32>, a: &[f32]| {
            let mut c = vec![0.0_f32; self.len * stride];
            let panels = Panels { data: panels, depth: head_dim };
            panels.multiply(isa, (a, head_dim), self.len, head_dim, (&mut c, stride), false);
            c
        };
        let mut weights = whole(&keys.keys_out, &q);
        let mut scores = whole(&keys.values_out, &grad);
        let lines = weights.chunks_exact_mut(stride).zip(scores.chunks_exact_mut(stride));
        for (row, (weights, scores)) in lines.enumerate() {
            let end = self.position + row + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            let sum = exp_scores(isa, weights, start, end, scale);
            score_gradients(isa, weights, scores, 1.0 / sum, scale);
        }

        // Sums over queries, for every key seen.
        for (x, rows, sums) in [(&weights, &grad, value_grads), (&scores, &q, key_grads)] {
            let mut columns = vec![0.0_f32; seen * self.len];
            for (row, line) in x.chunks_exact(stride).enumerate() {
                for (key, value) in line[..seen].iter().enumerate() {
                    columns[key * self.len + row] = *value;
                }
            }
            let packed = as_inputs(rows, head_dim);
            let panels = Panels { data: &packed, depth: self.len };
            panels.multiply(isa, (&columns, self.len), seen, self.len, (sums, head_dim), true);
        }

        let mut q_grad = vec![0.0_f32; self.len * head_dim];
        let panels = Panels { data: &keys.keys_in, depth: keys.rows };
        panels.multiply(isa, (&scores, stride), self.len, seen, (&mut q_grad, head_dim), false);
        for (row, grad) in q_grad.chunks_exact(head_dim).enumerate() {
            // SAFETY: this task alone writes this head's columns of the family's rows.
            unsafe { q_grads.slice(self.row + row, column, head_dim) }.copy_from_slice(grad);
        }
    }
}

per_isa! {
    /// From unnormalised weights and the gradients of weights: normalised weights, and the gradients
    /// of the scores before scaling.
    fn score_gradients(weights: &mut [f32], grads: &mut [f32], inverse: f32, scale: f32) {
        let mut sums = [0.0_f32; LANES];
        for (weights, grads) in weights.chunks_mut(LANES).zip(grads.chunks(LANES)) {
            for i in 0..weights.len() {
                weights[i] *= inverse;
                sums[i] = weights[i].mul_add(grads[i], sums[i]);
            }
        }
        let mean = sum_lanes(&sums);
        for (weight, grad) in weights.iter().zip(grads) {
            *grad = weight * (*grad - mean) * scale;
        }
    }
}

/// Panels of 16 columns, `[columns / 16][depth][16]`.
#[derive(Clone, Copy)]
struct Panels<'a> {
    data: &'a [f32],
    depth: usize,
}

impl Panels<'_> {
    /// `c = a · panels`, or `c += a · panels`, over the first `inner` of the panels' depth, for `rows`
    /// rows and all columns that `c` has; matrices come with the distance of their rows.
    fn multiply(
        self,
        isa: Isa,
        (a, a_stride): (&[f32], usize),
        rows: usize,
        inner: usize,
        (c, c_stride): (&mut [f32], usize),
        accumulate: bool,
    ) {
        assert!((rows - 1) * a_stride + inner <= a.len(), "rows outside of the left matrix");
        for column in (0..c_stride).step_by(LANES) {
            let panel = &self.data[column * self.depth..][..inner * LANES];
            let c = &mut c[column..];
            assert!((rows - 1) * c_stride + LANES <= c.len(), "rows outside of the result");
            let (a, panel) = (a.as_ptr(), panel.as_ptr());
            let product = PanelProduct { rows, inner, a, a_stride, panel, next: std::ptr::null() };
            // SAFETY: the lengths of all three were just checked.
            unsafe { product.run(isa, c.as_mut_ptr(), c_stride, accumulate) };
        }
    }
}
