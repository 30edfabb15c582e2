//! Gradients of causal attention over a prompt and the rollouts that share it.
//!
//! Weights are computed again from queries and keys instead of being stored. A prompt group and a key
//! head make a task, which works through the prompt and its continuations one after the other, so that
//! the gradients of shared keys and values are sums in a fixed order.

use super::forward::exp_scores;
use crate::attention::segment::{PromptGroup, RowSpan};
use crate::kernels::{Isa, LANES, PanelProduct, RowsMut, RowsRef, per_isa, sum_lanes};
use crate::ops::add_to_chunk;

/// Query rows per block.
const BLOCK: usize = 64;

/// Queries, keys, values and the gradient of the output, as the forward pass had them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionInputs<'a> {
    pub(crate) q: RowsRef<'a>,
    pub(crate) k: RowsRef<'a>,
    pub(crate) v: RowsRef<'a>,
    pub(crate) grad: RowsRef<'a>,
}

/// The gradients of queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionGradients {
    pub(crate) q: RowsMut,
    pub(crate) k: RowsMut,
    pub(crate) v: RowsMut,
}

/// A key head and the query heads that share it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadGroup {
    /// The key head.
    pub(crate) kv_head: usize,
    /// Query heads of a key head.
    pub(crate) heads: usize,
    /// Values per head, a multiple of 16.
    pub(crate) head_dim: usize,
    /// The factor of the scores.
    pub(crate) scale: f32,
    /// The number of last keys that a row attends to, its own included; none: all.
    pub(crate) window: Option<usize>,
}

/// Adds the gradients of one prompt group under one key head; those of its keys and values must be zero.
pub(crate) fn attend_backward(
    isa: Isa,
    prompts: &PromptGroup,
    group: HeadGroup,
    inputs: AttentionInputs<'_>,
    gradients: AttentionGradients,
) {
    let HeadGroup { kv_head, heads, head_dim, .. } = group;
    assert!(head_dim.is_multiple_of(LANES), "head dimension is not a multiple of 16");
    let kv_column = kv_head * head_dim;
    let nothing = RowSpan { first_row: 0, len: 0 };
    let spans = std::iter::once((nothing, prompts.prompt))
        .chain(prompts.continuations.iter().map(|span| (prompts.prompt, *span)));
    for (before, span) in spans.filter(|(_, span)| span.len > 0) {
        let rows = [before, span];
        let visible = before.len + span.len;
        let key_rows = gather(inputs.k, &rows, kv_column, head_dim);
        let value_rows = gather(inputs.v, &rows, kv_column, head_dim);
        let keys = Keys {
            rows: visible,
            keys_out: as_outputs(&key_rows, head_dim),
            keys_in: as_inputs(&key_rows, head_dim),
            values_out: as_outputs(&value_rows, head_dim),
        };
        let mut key_grads = vec![0.0_f32; visible * head_dim];
        let mut value_grads = vec![0.0_f32; visible * head_dim];
        for head in kv_head * heads..(kv_head + 1) * heads {
            for first in (0..span.len).step_by(BLOCK) {
                let len = BLOCK.min(span.len - first);
                let block =
                    Block { row: span.first_row + first, len, position: before.len + first };
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
                // SAFETY: this task alone writes these columns of the group's rows.
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

/// The keys and values that the rows of a span attend to under one head, laid out for products.
struct Keys {
    rows: usize,
    /// See [`as_outputs`].
    keys_out: Vec<f32>,
    /// See [`as_inputs`].
    keys_in: Vec<f32>,
    /// See [`as_outputs`].
    values_out: Vec<f32>,
}

/// Copies one head of the rows of spans, row after row.
fn gather(x: RowsRef<'_>, spans: &[RowSpan], column: usize, head_dim: usize) -> Vec<f32> {
    let indices = spans.iter().flat_map(|span| span.first_row..span.first_row + span.len);
    let mut rows = Vec::new();
    for row in indices {
        rows.extend_from_slice(&x.row(row)[column..][..head_dim]);
    }
    rows
}

/// `[rows][width]` to `[rows / 16][width][16]`: rows are the outputs of a product.
fn as_outputs(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut packed = vec![0.0_f32; rows.next_multiple_of(LANES) * width];
    for (index, row) in x.chunks_exact(width).enumerate() {
        let panel = &mut packed[index / LANES * width * LANES..];
        for (value, lanes) in row.iter().zip(panel.chunks_exact_mut(LANES)) {
            lanes[index % LANES] = *value;
        }
    }
    packed
}

/// `[rows][width]` to `[width / 16][rows][16]`: rows are the inputs of a product, summed over.
fn as_inputs(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut packed = vec![0.0_f32; rows * width];
    for (index, row) in x.chunks_exact(width).enumerate() {
        for (panel, values) in row.chunks_exact(LANES).enumerate() {
            packed[(panel * rows + index) * LANES..][..LANES].copy_from_slice(values);
        }
    }
    packed
}

/// Some queries of a span.
#[derive(Clone, Copy)]
struct Block {
    /// The first row of the pass.
    row: usize,
    len: usize,
    /// The position of the first query among its keys.
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
        let visible = self.position + self.len;
        let stride = visible.next_multiple_of(LANES);
        let span = [RowSpan { first_row: self.row, len: self.len }];
        let q = gather(inputs.q, &span, column, head_dim);
        let grad = gather(inputs.grad, &span, column, head_dim);

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

        // Sums over queries, for every visible key.
        for (x, rows, sums) in [(&weights, &grad, value_grads), (&scores, &q, key_grads)] {
            let mut columns = vec![0.0_f32; visible * self.len];
            for (row, line) in x.chunks_exact(stride).enumerate() {
                for (key, value) in line[..visible].iter().enumerate() {
                    columns[key * self.len + row] = *value;
                }
            }
            let packed = as_inputs(rows, head_dim);
            let panels = Panels { data: &packed, depth: self.len };
            panels.multiply(isa, (&columns, self.len), visible, self.len, (sums, head_dim), true);
        }

        let mut q_grad = vec![0.0_f32; self.len * head_dim];
        let panels = Panels { data: &keys.keys_in, depth: keys.rows };
        panels.multiply(isa, (&scores, stride), self.len, visible, (&mut q_grad, head_dim), false);
        for (row, grad) in q_grad.chunks_exact(head_dim).enumerate() {
            // SAFETY: this task alone writes this head's columns of the group's rows.
            unsafe { q_grads.slice(self.row + row, column, head_dim) }.copy_from_slice(grad);
        }
    }
}

per_isa! {
    /// Normalises the weights and replaces their gradients by those of the scores before scaling.
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
    /// Computes `c = a · panels`, or `c += a · panels`, over the first `inner` of the panels' depth, for `rows`
    /// rows and all columns that `c` has; each matrix comes with its row stride.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the gradients of queries, keys and values of a prompt with two continuations.
    fn gradients(isa: Isa, window: Option<usize>) -> [Vec<f32>; 3] {
        const ROWS: usize = 9;
        let values = |width: usize, factor: usize| -> Vec<f32> {
            (0..ROWS * width).map(|i| ((i * factor) % 23) as f32 / 8.0 - 1.4).collect()
        };
        let (q, k, v, grad) = (values(32, 7), values(16, 5), values(16, 11), values(32, 13));
        let view = |data, width| RowsRef::new(data, ROWS, width, width);
        let inputs = AttentionInputs {
            q: view(&q, 32),
            k: view(&k, 16),
            v: view(&v, 16),
            grad: view(&grad, 32),
        };
        let mut found = [vec![0.0; ROWS * 32], vec![0.0; ROWS * 16], vec![0.0; ROWS * 16]];
        let [q, k, v] = &mut found;
        let gradients = AttentionGradients {
            q: RowsMut::new(q, 32),
            k: RowsMut::new(k, 16),
            v: RowsMut::new(v, 16),
        };
        let rows = |first_row, len| RowSpan { first_row, len };
        let group = PromptGroup { prompt: rows(0, 4), continuations: vec![rows(4, 3), rows(7, 2)] };
        let heads = HeadGroup { kv_head: 0, heads: 2, head_dim: 16, scale: 0.25, window };
        attend_backward(isa, &group, heads, inputs, gradients);
        found
    }

    #[test]
    fn every_instruction_set_gives_the_same_gradients() {
        for window in [None, Some(3)] {
            let expected = gradients(Isa::Portable, window);
            for isa in Isa::available() {
                assert_eq!(gradients(isa, window), expected, "{isa:?}");
            }
        }
    }

    #[test]
    fn a_window_of_one_key_has_no_gradient_of_queries_and_keys() {
        let [q, k, v] = gradients(Isa::best(), Some(1));
        assert!(q.iter().chain(&k).all(|value| value.abs() < 1e-5));
        assert!(v.iter().any(|value| *value != 0.0));
    }
}
