//! Causal attention of a few rows of one sequence over its cached keys and values.
//!
//! A sequence's keys are stored in runs, in position order: the prompt that a group shares, then the
//! rollout's own. Scores are chains over the head's dimensions, outputs chains over the keys from
//! position 0 up, continued from run to run; so a shared prompt gives the bits of an unshared one.

use std::cell::RefCell;

use crate::kernels::{Isa, LANES, PanelProduct, RowsMut, RowsRef, exp_f32, per_isa, sum_lanes};

/// Keys and values of one head at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyValueRun<'a> {
    /// Number of positions.
    pub(crate) len: usize,
    /// `[capacity / 16][head_dim][16]`.
    pub(crate) keys: &'a [f32],
    /// `[head_dim / 16][capacity][16]`.
    pub(crate) values: &'a [f32],
    /// Positions that fit into the storage, a multiple of 16.
    pub(crate) capacity: usize,
}

/// Consecutive rows of a sequence and the query heads that share one key head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionTask {
    /// First row of `q` and of the output.
    pub(crate) first_row: usize,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Position of the first row.
    pub(crate) first_position: usize,
    /// First query head.
    pub(crate) first_head: usize,
    /// Number of query heads.
    pub(crate) heads: usize,
    /// Values per head, a multiple of 16.
    pub(crate) head_dim: usize,
    /// The factor of the scores.
    pub(crate) scale: f32,
    /// The number of last keys that a row attends to, its own included; none: all.
    pub(crate) window: Option<usize>,
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Attends with every row and head of `task` over `runs` and writes the heads' outputs.
pub(crate) fn attend_tile(
    isa: Isa,
    task: &AttentionTask,
    q: RowsRef<'_>,
    runs: &[KeyValueRun<'_>],
    out: RowsMut,
) {
    SCRATCH.with_borrow_mut(|scratch| attend_with(isa, task, q, runs, out, scratch));
}

fn attend_with(
    isa: Isa,
    task: &AttentionTask,
    q: RowsRef<'_>,
    runs: &[KeyValueRun<'_>],
    out: RowsMut,
    scratch: &mut Vec<f32>,
) {
    let AttentionTask { rows, heads, head_dim, .. } = *task;
    assert!(head_dim.is_multiple_of(LANES), "head dimension is not a multiple of 16");
    let num_keys = task.first_position + rows;
    // One panel of room, as the last panel of a run writes past its keys.
    let stride = num_keys.next_multiple_of(LANES) + LANES;
    let lines = heads * rows;
    let needed = lines * (stride + head_dim);
    if scratch.len() < needed {
        scratch.resize(needed, 0.0);
    }
    let (scores, mixed) = scratch[..needed].split_at_mut(lines * stride);

    // Line `head · rows + row`. With one row the heads themselves are evenly spaced lines.
    let (batches, lines_per_batch, q_stride) =
        if rows == 1 { (1, heads, head_dim) } else { (heads, rows, q.stride()) };
    let mut first = 0;
    for run in runs {
        let len = run.len.min(num_keys - first);
        for batch in 0..batches {
            let head = (task.first_head + batch) * head_dim;
            let a = q.row(task.first_row)[head..].as_ptr();
            for panel in 0..len.div_ceil(LANES) {
                let keys = &run.keys[panel * head_dim * LANES..][..head_dim * LANES];
                let product = PanelProduct {
                    rows: lines_per_batch,
                    inner: head_dim,
                    a,
                    a_stride: q_stride,
                    panel: keys.as_ptr(),
                    next: std::ptr::null(),
                };
                let at = batch * lines_per_batch * stride + first + panel * LANES;
                let target = &mut scores[at..][..(lines_per_batch - 1) * stride + LANES];
                // SAFETY: `q` has the rows and heads of the task, the panel has `head_dim` times
                // 16 values, and `target` spans 16 values of every line.
                unsafe { product.run(isa, target.as_mut_ptr(), stride, false) };
            }
        }
        first += len;
    }
    assert_eq!(first, num_keys, "the cache lacks keys");

    for head in 0..heads {
        for row in 0..rows {
            let line = head * rows + row;
            let end = task.first_position + row + 1;
            let start = task.window.map_or(0, |window| end.saturating_sub(window));
            let line_scores = &mut scores[line * stride..][..num_keys];
            let sum = exp_scores(isa, line_scores, start, end, task.scale);
            // The output row is free until the end; it holds the sum until then.
            mixed[line * head_dim] = sum;
        }
    }
    let sums: Vec<f32> = (0..lines).map(|line| mixed[line * head_dim]).collect();

    let mut first = 0;
    for run in runs {
        let len = run.len.min(num_keys - first);
        if len == 0 {
            continue;
        }
        for part in 0..head_dim / LANES {
            let values = &run.values[part * run.capacity * LANES..][..len * LANES];
            let product = PanelProduct {
                rows: lines,
                inner: len,
                a: scores[first..].as_ptr(),
                a_stride: stride,
                panel: values.as_ptr(),
                next: std::ptr::null(),
            };
            let target = &mut mixed[part * LANES..][..(lines - 1) * head_dim + LANES];
            // SAFETY: every line has `len` weights from `first` on, `values` has `len` times 16
            // values, and `target` spans 16 values of every line.
            unsafe { product.run(isa, target.as_mut_ptr(), head_dim, first > 0) };
        }
        first += len;
    }

    for (line, sum) in sums.iter().enumerate() {
        let (head, row) = (line / rows, line % rows);
        // SAFETY: this task alone writes these heads of these rows.
        let out = unsafe {
            out.slice(task.first_row + row, (task.first_head + head) * head_dim, head_dim)
        };
        let inverse = 1.0 / sum;
        for (out, mixed) in out.iter_mut().zip(&mixed[line * head_dim..][..head_dim]) {
            *out = mixed * inverse;
        }
    }
}

per_isa! {
    /// Replaces `scores[from..to]` by `exp(scale · (score - largest))` and everything else in
    /// `scores` by 0; returns the sum. A score's lane in the sum is its position modulo 16, so
    /// neither what follows nor how keys are stored changes it.
    pub(crate) fn exp_scores(scores: &mut [f32], from: usize, to: usize, scale: f32) -> f32 {
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = scores[from..to].as_chunks::<LANES>();
        for chunk in chunks {
            for (most, score) in largest.iter_mut().zip(chunk) {
                *most = if *score > *most { *score } else { *most };
            }
        }
        let largest = rest.iter().chain(&largest).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
        scores[..from].fill(f32::NEG_INFINITY);
        scores[to..].fill(f32::NEG_INFINITY);
        let shift = -(largest * scale);
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = scores.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for (sum, score) in sums.iter_mut().zip(chunk) {
                *score = exp_f32(score.mul_add(scale, shift));
                *sum += *score;
            }
        }
        for (sum, score) in sums.iter_mut().zip(rest) {
            *score = exp_f32(score.mul_add(scale, shift));
            *sum += *score;
        }
        sum_lanes(&sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_weights_are_the_same_on_every_instruction_set_and_behind_any_padding() {
        let scores: Vec<f32> = (0..77).map(|i| ((i * 37) % 23) as f32 - 9.0).collect();
        let mut reference = scores.clone();
        let sum = exp_scores(Isa::Portable, &mut reference, 0, 70, 0.125);
        let exact: f64 = scores[..70].iter().map(|s| (0.125 * (f64::from(*s) - 13.0)).exp()).sum();
        assert!((f64::from(sum) - exact).abs() < 1e-5 * exact);
        assert!(reference[70..].iter().all(|p| *p == 0.0));
        for isa in Isa::available() {
            let mut longer = scores.clone();
            longer.resize(123, 1000.0);
            assert_eq!(exp_scores(isa, &mut longer, 0, 70, 0.125).to_bits(), sum.to_bits());
            assert_eq!(longer[..77], reference[..]);
        }
    }
}
