//! Attention of spans of rows over their stored keys, cut into tasks.

use burn::tensor::Tensor;

use super::forward::{AttentionTask, KeyValueRun, attend_tile};
use crate::attention::shape::AttentionShape;
use crate::kernels::{Isa, RowsRef, for_each_task};
use crate::ops::cpu_support::filled_rows;

/// Rows of a sequence per task; two blocks of the AVX2 product, one of AVX-512.
const TILE_ROWS: usize = 12;

/// Attends with the rows of consecutive spans, each with its length and the position of its first row.
/// `runs` returns the keys of a span under a key head, its own included.
pub(crate) fn attend_spans<'a>(
    shape: &AttentionShape,
    q: RowsRef<'_>,
    spans: &[(usize, usize)],
    runs: impl Fn(usize, usize) -> Vec<KeyValueRun<'a>> + Sync + Send,
) -> Tensor<2> {
    let group = shape.num_heads / shape.num_kv_heads;
    let mut tasks = Vec::new();
    let (mut first_row, mut work) = (0, 0);
    for (index, (len, before)) in spans.iter().enumerate() {
        for row in (0..*len).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(len - row);
            for head in 0..shape.num_kv_heads {
                let task = AttentionTask {
                    first_row: first_row + row,
                    rows,
                    first_position: before + row,
                    first_head: head * group,
                    heads: group,
                    head_dim: shape.head_dim,
                    scale: shape.scale,
                    window: shape.window,
                };
                work += rows * group * (before + row + rows) * shape.head_dim;
                tasks.push((index, head, task));
            }
        }
        first_row += len;
    }
    filled_rows(q.rows(), shape.num_heads * shape.head_dim, |out| {
        for_each_task(tasks.len(), work >= 1 << 16, |task| {
            let (index, head, task) = &tasks[task];
            attend_tile(Isa::best(), task, q, &runs(*index, *head), out);
        });
    })
}
