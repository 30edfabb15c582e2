//! Storage of keys and values, laid out as the attention kernel reads it: in panels of 16 positions.

use std::ops::Range;

use super::forward::KeyValueRun;
use crate::attention::shape::AttentionShape;
use crate::kernels::{LANES, RowsRef};

/// Positions that a new sequence has storage for.
const FIRST_CAPACITY: usize = 64;

/// The keys and values of one head in one layer.
#[derive(Clone, Debug, Default)]
pub struct HeadStore {
    /// `[capacity / 16][head_dim][16]`.
    keys: Vec<f32>,
    /// `[head_dim / 16][capacity][16]`.
    values: Vec<f32>,
    capacity: usize,
}

impl HeadStore {
    /// Grows the storage to at least this many positions.
    pub(crate) fn reserve(&mut self, positions: usize, head_dim: usize) {
        if positions <= self.capacity {
            return;
        }
        let capacity = positions.max(2 * self.capacity).max(FIRST_CAPACITY).next_multiple_of(LANES);
        self.keys.resize(capacity * head_dim, 0.0);
        let mut values = vec![0.0; capacity * head_dim];
        if self.capacity > 0 {
            let parts = self.values.chunks_exact(self.capacity * LANES);
            for (new, old) in values.chunks_exact_mut(capacity * LANES).zip(parts) {
                new[..old.len()].copy_from_slice(old);
            }
        }
        self.values = values;
        self.capacity = capacity;
    }

    fn write(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let head_dim = key.len();
        let panel = &mut self.keys[position / LANES * head_dim * LANES..][..head_dim * LANES];
        for (key, lanes) in key.iter().zip(panel.chunks_exact_mut(LANES)) {
            lanes[position % LANES] = *key;
        }
        for (part, value) in value.chunks_exact(LANES).enumerate() {
            let at = (part * self.capacity + position) * LANES;
            self.values[at..][..LANES].copy_from_slice(value);
        }
    }

    /// Writes key head `head` of `rows` of `k` and `v`, starting at `position`.
    pub(crate) fn write_rows(
        &mut self,
        position: usize,
        head: usize,
        rows: Range<usize>,
        k: RowsRef<'_>,
        v: RowsRef<'_>,
        shape: &AttentionShape,
    ) {
        let columns = head * shape.head_dim..(head + 1) * shape.head_dim;
        for (offset, row) in rows.enumerate() {
            let (key, value) = (&k.row(row)[columns.clone()], &v.row(row)[columns.clone()]);
            self.write(position + offset, key, value);
        }
    }

    /// Returns the first `len` positions.
    pub(crate) fn run(&self, len: usize) -> KeyValueRun<'_> {
        KeyValueRun { len, keys: &self.keys, values: &self.values, capacity: self.capacity }
    }
}
