//! Causal attention of a few rows of one sequence over its cached keys and values.
//!
//! A sequence's keys lie in runs, in position order: the prompt that a group shares, then the
//! rollout's own. Scores are chains over the head's dimensions, outputs chains over the keys from
//! position 0 up, continued from run to run; so a shared prompt gives the bits of an unshared one.

use std::cell::RefCell;

use super::gemm::PanelProduct;
use super::softmax::exp_scores;
use super::{Isa, LANES, RowsMut, RowsRef};

/// Keys and values of one head at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyValueRun<'a> {
    /// Number of positions.
    pub(crate) len: usize,
    /// `[capacity / 16][head_dim][16]`.
    pub(crate) keys: &'a [f32],
    /// `[head_dim / 16][capacity][16]`.
    pub(crate) values: &'a [f32],
    /// Positions there is room for, a multiple of 16.
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
    /// Numbers of a head, a multiple of 16.
    pub(crate) head_dim: usize,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// How many keys back a row sees, its own included; none: all.
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
    let keys_seen = task.first_position + rows;
    // One panel of room, as the last panel of a run writes past its keys.
    let stride = keys_seen.next_multiple_of(LANES) + LANES;
    let lines = heads * rows;
    let needed = lines * (stride + head_dim);
    if scratch.len() < needed {
        scratch.resize(needed, 0.0);
    }
    let (scores, mixed) = scratch[..needed].split_at_mut(lines * stride);

    // Line `head · rows + row`. With one row the heads themselves are evenly spaced lines.
    let (batches, lines_a_batch, q_stride) =
        if rows == 1 { (1, heads, head_dim) } else { (heads, rows, q.stride()) };
    let mut first = 0;
    for run in runs {
        let len = run.len.min(keys_seen - first);
        for batch in 0..batches {
            let head = (task.first_head + batch) * head_dim;
            let a = q.row(task.first_row)[head..].as_ptr();
            for panel in 0..len.div_ceil(LANES) {
                let keys = &run.keys[panel * head_dim * LANES..][..head_dim * LANES];
                let product = PanelProduct {
                    rows: lines_a_batch,
                    inner: head_dim,
                    a,
                    a_stride: q_stride,
                    panel: keys.as_ptr(),
                    next: std::ptr::null(),
                };
                let at = batch * lines_a_batch * stride + first + panel * LANES;
                let target = &mut scores[at..][..(lines_a_batch - 1) * stride + LANES];
                // SAFETY: `q` has the rows and heads of the task, the panel has `head_dim` times
                // 16 numbers, and `target` spans 16 numbers of every line.
                unsafe { product.run(isa, target.as_mut_ptr(), stride, false) };
            }
        }
        first += len;
    }
    assert_eq!(first, keys_seen, "the cache lacks keys");

    for head in 0..heads {
        for row in 0..rows {
            let line = head * rows + row;
            let end = task.first_position + row + 1;
            let start = task.window.map_or(0, |window| end.saturating_sub(window));
            let line_scores = &mut scores[line * stride..][..keys_seen];
            let sum = exp_scores(isa, line_scores, start, end, task.scale);
            // The output row is not needed before the end; it keeps the sum until then.
            mixed[line * head_dim] = sum;
        }
    }
    let sums: Vec<f32> = (0..lines).map(|line| mixed[line * head_dim]).collect();

    let mut first = 0;
    for run in runs {
        let len = run.len.min(keys_seen - first);
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
            // numbers, and `target` spans 16 numbers of every line.
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
