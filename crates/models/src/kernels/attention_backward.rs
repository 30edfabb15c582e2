//! Gradients of causal attention over a prompt and the rollouts that share it.
//!
//! Weights are computed again from queries and keys rather than kept. A family (a prompt and what
//! continues it) and a key head make a task, its parts one after the other, so that gradients of the
//! shared keys and values are sums in a fixed order.

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
        let keys = Gathered::new(inputs.k, &rows, kv_column, head_dim);
        let values = Gathered::new(inputs.v, &rows, kv_column, head_dim);
        let mut key_grads = vec![0.0_f32; keys.rows * head_dim];
        let mut value_grads = vec![0.0_f32; keys.rows * head_dim];
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
                    &values,
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
                add(isa, &key_grads[at..][..head_dim], k);
                add(isa, &value_grads[at..][..head_dim], v);
            }
            from += rows.len;
        }
    }
}

/// One head's keys or values of a part, in both layouts that products want.
struct Gathered {
    rows: usize,
    /// `[rows / 16][head_dim][16]`: rows are outputs.
    as_outputs: Vec<f32>,
    /// `[head_dim / 16][rows][16]`: rows are inputs.
    as_inputs: Vec<f32>,
}

impl Gathered {
    fn new(x: RowsRef<'_>, parts: &[Part], column: usize, head_dim: usize) -> Self {
        let rows = parts.iter().map(|part| part.len).sum::<usize>();
        let mut as_outputs = vec![0.0_f32; rows.next_multiple_of(LANES) * head_dim];
        let mut as_inputs = vec![0.0_f32; rows * head_dim];
        let numbered = parts.iter().flat_map(|part| part.first_row..part.first_row + part.len);
        for (number, row) in numbered.enumerate() {
            let row = &x.row(row)[column..][..head_dim];
            let panel = &mut as_outputs[number / LANES * head_dim * LANES..];
            for (value, lanes) in row.iter().zip(panel.chunks_exact_mut(LANES)) {
                lanes[number % LANES] = *value;
            }
            for (panel, values) in row.chunks_exact(LANES).enumerate() {
                as_inputs[(panel * rows + number) * LANES..][..LANES].copy_from_slice(values);
            }
        }
        Self { rows, as_outputs, as_inputs }
    }
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
        keys: &Gathered,
        values: &Gathered,
        q_grads: RowsMut,
        key_grads: &mut [f32],
        value_grads: &mut [f32],
    ) {
        let HeadGroup { head_dim, scale, window, .. } = group;
        let column = head * head_dim;
        let seen = self.position + self.len;
        let stride = seen.next_multiple_of(LANES);
        let block = |x: RowsRef<'_>| {
            let mut rows = Vec::with_capacity(self.len * head_dim);
            for row in self.row..self.row + self.len {
                rows.extend_from_slice(&x.row(row)[column..][..head_dim]);
            }
            rows
        };
        let (q, grad) = (block(inputs.q), block(inputs.grad));

        let mut weights = vec![0.0_f32; self.len * stride];
        product(isa, &q, head_dim, &keys.as_outputs, head_dim, &mut weights, stride);
        let mut scores = vec![0.0_f32; self.len * stride];
        product(isa, &grad, head_dim, &values.as_outputs, head_dim, &mut scores, stride);
        let lines = weights.chunks_exact_mut(stride).zip(scores.chunks_exact_mut(stride));
        for (row, (weights, scores)) in lines.enumerate() {
            let end = self.position + row + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            let sum = exp_scores(isa, weights, start, end, scale);
            score_gradients(isa, weights, scores, 1.0 / sum, scale);
        }

        // Rows are the inputs of the products that sum over queries.
        let packed_grad = pack_rows_as_inputs(&grad, self.len, head_dim);
        let packed_q = pack_rows_as_inputs(&q, self.len, head_dim);
        let columns = |x: &[f32]| {
            let mut transposed = vec![0.0_f32; seen * self.len];
            for (row, line) in x.chunks_exact(stride).enumerate() {
                for (key, value) in line[..seen].iter().enumerate() {
                    transposed[key * self.len + row] = *value;
                }
            }
            transposed
        };
        add_product(
            isa,
            &columns(&weights),
            self.len,
            &packed_grad,
            self.len,
            value_grads,
            head_dim,
        );
        add_product(isa, &columns(&scores), self.len, &packed_q, self.len, key_grads, head_dim);

        let mut q_grad = vec![0.0_f32; self.len * head_dim];
        for panel in 0..head_dim / LANES {
            let panel_keys = &keys.as_inputs[panel * keys.rows * LANES..][..seen * LANES];
            let out = &mut q_grad[panel * LANES..];
            run(isa, &scores, stride, self.len, panel_keys, seen, out, head_dim, false);
        }
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

per_isa! {
    fn add(x: &[f32], out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out += x;
        }
    }
}

/// `[rows][width]` to `[width / 16][rows][16]`.
fn pack_rows_as_inputs(x: &[f32], rows: usize, width: usize) -> Vec<f32> {
    let mut packed = vec![0.0_f32; rows * width];
    for (row, x) in x.chunks_exact(width).enumerate() {
        for (panel, values) in x.chunks_exact(LANES).enumerate() {
            packed[(panel * rows + row) * LANES..][..LANES].copy_from_slice(values);
        }
    }
    packed
}

/// `c = a · panels` for all columns that `c` has.
fn product(
    isa: Isa,
    a: &[f32],
    inner: usize,
    panels: &[f32],
    depth: usize,
    c: &mut [f32],
    stride: usize,
) {
    let rows = a.len() / inner;
    for panel in 0..stride / LANES {
        let values = &panels[panel * depth * LANES..][..depth * LANES];
        run(isa, a, inner, rows, values, depth, &mut c[panel * LANES..], stride, false);
    }
}

/// `c += a · panels`, where `a` may have fewer rows than `c`.
fn add_product(
    isa: Isa,
    a: &[f32],
    inner: usize,
    panels: &[f32],
    depth: usize,
    c: &mut [f32],
    width: usize,
) {
    let rows = a.len() / inner;
    for panel in 0..width / LANES {
        let values = &panels[panel * depth * LANES..][..depth * LANES];
        run(isa, a, inner, rows, values, depth, &mut c[panel * LANES..], width, true);
    }
}

#[expect(clippy::too_many_arguments, reason = "two matrices, their shapes and strides")]
fn run(
    isa: Isa,
    a: &[f32],
    a_stride: usize,
    rows: usize,
    panel: &[f32],
    inner: usize,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    assert!((rows - 1) * a_stride + inner <= a.len(), "rows outside of the left matrix");
    assert!((rows - 1) * c_stride + LANES <= c.len(), "rows outside of the result");
    assert_eq!(panel.len(), inner * LANES, "a panel of another depth");
    let (a, panel) = (a.as_ptr(), panel.as_ptr());
    let product = PanelProduct { rows, inner, a, a_stride, panel, next: std::ptr::null() };
    // SAFETY: the three lengths were just checked.
    unsafe { product.run(isa, c.as_mut_ptr(), c_stride, accumulate) };
}
