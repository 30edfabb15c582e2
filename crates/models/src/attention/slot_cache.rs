//! A cache in burn operations for devices where a few large operations are faster than many small ones.
//!
//! Every layer has one table of keys and one of values, with a row per token. A sequence is a list of rows,
//! its slots, and shares those of its parent. A pass writes its rows into their slots, gathers the
//! slots of all its sequences into one block, padded to the longest, and attends to that block at
//! once. So the number of operations does not depend on the number of sequences.
//!
//! Shapes: `r` rows of a pass, `n` sequences, `m` rows of the longest span, `s` keys of the longest
//! sequence, `h` query heads, `k` key heads, `d` head dimension, `t` slots of a table.

use std::collections::BTreeSet;
use std::ops::Range;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::cache::{KvCache, SequenceId, Span, Table};
use super::shape::{Attend, AttentionShape};
use super::softmax::masked_softmax;
use crate::ops::indices;

/// The mean length from which runs of slots are written run by run. burn's scatter walks through the rows
/// one after the other, at about a microsecond each on a large GPU.
const ROWS_PER_RUN: usize = 16;
/// Slots of a new table.
const FIRST_CAPACITY: usize = 1024;

#[derive(Clone, Debug)]
struct Sequence {
    parent: Option<SequenceId>,
    /// The parent's tokens when this was opened.
    start: usize,
    /// The slots of its own tokens.
    slots: Vec<usize>,
}

/// The keys and values of a layer.
#[derive(Clone, Debug)]
struct Layer {
    /// `[t, k · d]`.
    keys: Tensor<2>,
    /// `[t, k · d]`.
    values: Tensor<2>,
}

/// A cache with one table per layer for all sequences.
#[derive(Clone, Debug, Default)]
pub struct SlotKvCache {
    sequences: Table<Sequence>,
    layers: Vec<Option<Layer>>,
    /// Number of slots ever used, and the next new slot.
    used: usize,
    /// Free slots. The lowest are used first, so that the rows of a pass tend to be consecutive.
    free: BTreeSet<usize>,
    pass: Pass,
}

/// The slots of a pass's rows, for every layer.
#[derive(Clone, Debug, Default)]
struct Pass {
    /// The slots of the rows, `r`.
    slots: Vec<usize>,
    /// Rows with consecutive slots: the first row, and the slots.
    runs: Vec<(usize, Range<usize>)>,
    /// The row at each index of `[n, m]`; shorter spans repeat their last row.
    rows: Vec<usize>,
    /// The index in `[n, m]` of each row, `r`.
    row_indices: Vec<usize>,
    /// The slot at each index of `[n, s]`; shorter sequences repeat their last slot.
    keys: Vec<usize>,
    /// New tokens and all tokens of each sequence, `n`.
    lengths: Vec<(usize, usize)>,
    on_device: Option<DeviceIndices>,
}

/// The indices of a pass as tensors.
#[derive(Clone, Debug)]
struct DeviceIndices {
    slots: Tensor<1, Int>,
    rows: Tensor<1, Int>,
    row_indices: Tensor<1, Int>,
    keys: Tensor<1, Int>,
    /// `[n, m, s]`, by window.
    masks: Vec<(Option<usize>, Tensor<3>)>,
}

impl Pass {
    fn longest(&self) -> (usize, usize) {
        let rows = self.lengths.iter().map(|(new, _)| *new).max().unwrap_or(0);
        (rows, self.lengths.iter().map(|(_, all)| *all).max().unwrap_or(0))
    }

    fn on_device(&mut self, device: &Device) -> &mut DeviceIndices {
        let Self { slots, rows, row_indices, keys, on_device, .. } = self;
        on_device.get_or_insert_with(|| {
            let [slots, rows, row_indices, keys] =
                [&*slots, &*rows, &*row_indices, &*keys].map(|rows| indices(rows, device));
            DeviceIndices { slots, rows, row_indices, keys, masks: Vec::new() }
        })
    }

    /// Returns the mask: 0 for visible keys, minus infinity for others.
    fn mask(&mut self, window: Option<usize>, device: &Device) -> Tensor<3> {
        let mut masks = self.on_device(device).masks.iter();
        if let Some((_, mask)) = masks.find(|(of, _)| *of == window) {
            return mask.clone();
        }
        let (longest_rows, longest) = self.longest();
        let mut mask = vec![f32::NEG_INFINITY; self.lengths.len() * longest_rows * longest];
        let mut rest = mask.as_mut_slice();
        for (new, all) in &self.lengths {
            for row in 0..longest_rows {
                let keys;
                (keys, rest) = rest.split_at_mut(longest);
                // A row of padding attends to the keys of the last row, so that every row has a key.
                let end = all - new + row.min(new - 1) + 1;
                keys[window.map_or(0, |window| end.saturating_sub(window))..end].fill(0.0);
            }
        }
        let shape = [self.lengths.len(), longest_rows, longest];
        let mask = Tensor::from_data(TensorData::new(mask, shape), device);
        self.on_device(device).masks.push((window, mask.clone()));
        mask
    }
}

impl SlotKvCache {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the slots of a sequence from position 0.
    fn slots(&self, id: SequenceId) -> Vec<usize> {
        let sequence = self.sequences.get(id);
        let mut slots = sequence.parent.map_or_else(Vec::new, |parent| self.slots(parent));
        slots.truncate(sequence.start);
        slots.extend(&sequence.slots);
        slots
    }

    /// Writes the pass's rows into the layer's tables and returns them.
    fn write(&mut self, layer: usize, k: &Tensor<2>, v: &Tensor<2>) -> Layer {
        let device = k.device();
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, None);
        }
        let slots = self.pass.on_device(&device).slots.clone();
        let runs = &self.pass.runs;
        let has_long_runs = runs.len() * ROWS_PER_RUN <= self.pass.slots.len();
        let width = k.dims()[1];
        let (used, before) = (self.used, self.layers[layer].take());
        let extend = |table: Option<Tensor<2>>, rows: &Tensor<2>| {
            let options = (&device, rows.dtype());
            let len = table.as_ref().map_or(0, |table| table.dims()[0]);
            let capacity = if used <= len { len } else { used.max(2 * len).max(FIRST_CAPACITY) };
            let table = match table {
                Some(table) if capacity == len => table,
                Some(table) => {
                    Tensor::cat(vec![table, Tensor::zeros([capacity - len, width], options)], 0)
                }
                None => Tensor::zeros([capacity, width], options),
            };
            if has_long_runs {
                return runs.iter().fold(table, |table, (first, slots)| {
                    let rows = rows.clone().narrow(0, *first, slots.len());
                    table.slice_assign([slots.clone(), 0..width], rows)
                });
            }
            table.select_assign(0, slots.clone(), rows.clone(), IndexingUpdateOp::Assign)
        };
        let (keys, values) = before.map(|Layer { keys, values }| (keys, values)).unzip();
        let written = Layer { keys: extend(keys, k), values: extend(values, v) };
        self.layers[layer] = Some(written.clone());
        written
    }
}

impl Attend for SlotKvCache {
    fn attend(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = *shape;
        let written = self.write(layer, k, v);
        let device = q.device();
        let mask = self.pass.mask(window, &device);
        let (sequences, (rows, keys)) = (self.pass.lengths.len(), self.pass.longest());
        let DeviceIndices { rows: row_at, row_indices, keys: slot_at, .. } =
            self.pass.on_device(&device);
        let group = num_heads / num_kv_heads;
        let q_nmd = q.clone().select(0, row_at.clone());
        let q_nkgmd = q_nmd
            .reshape([sequences, rows, num_kv_heads, group, head_dim])
            .permute([0, 2, 3, 1, 4]);
        let q_nkmd = q_nkgmd.reshape([sequences, num_kv_heads, group * rows, head_dim]);
        let gather = |table: Tensor<2>| {
            table
                .select(0, slot_at.clone())
                .reshape([sequences, keys, num_kv_heads, head_dim])
                .permute([0, 2, 1, 3])
        };
        let products_nkms = q_nkmd.matmul(gather(written.keys).swap_dims(2, 3));
        let (weights_nkms, _) = masked_softmax(&products_nkms, &mask, scale);
        let mixed_nkmd = weights_nkms.matmul(gather(written.values));
        mixed_nkmd
            .reshape([sequences, num_kv_heads, group, rows, head_dim])
            .permute([0, 3, 1, 2, 4])
            .reshape([sequences * rows, num_heads * head_dim])
            .select(0, row_indices.clone())
    }
}

impl KvCache for SlotKvCache {
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId {
        let start = parent.map_or(0, |parent| self.len(parent));
        self.sequences.insert(Sequence { parent, start, slots: Vec::new() })
    }

    fn close(&mut self, sequence: SequenceId) {
        if let Some(Sequence { slots, .. }) = self.sequences.remove(sequence) {
            self.free.extend(slots);
        }
    }

    fn len(&self, sequence: SequenceId) -> usize {
        let Sequence { start, slots, .. } = self.sequences.get(sequence);
        start + slots.len()
    }

    fn begin(&mut self, spans: &[Span]) {
        let mut pass = Pass::default();
        for span in spans.iter().filter(|span| span.len > 0) {
            for _ in 0..span.len {
                let slot = self.free.pop_first().unwrap_or_else(|| {
                    self.used += 1;
                    self.used - 1
                });
                self.sequences.get_mut(span.sequence).slots.push(slot);
                pass.slots.push(slot);
            }
            pass.lengths.push((span.len, self.len(span.sequence)));
        }
        for (row, slot) in pass.slots.iter().enumerate() {
            match pass.runs.last_mut() {
                Some((_, run)) if run.end == *slot => run.end += 1,
                _ => pass.runs.push((row, *slot..slot + 1)),
            }
        }
        let (longest_rows, longest) = pass.longest();
        let mut first = 0;
        for (index, span) in spans.iter().filter(|span| span.len > 0).enumerate() {
            pass.row_indices.extend((0..span.len).map(|row| index * longest_rows + row));
            pass.rows.extend((0..longest_rows).map(|row| first + row.min(span.len - 1)));
            let mut slots = self.slots(span.sequence);
            let last = *slots.last().expect("it has the new tokens at least");
            slots.resize(longest, last);
            pass.keys.extend(slots);
            first += span.len;
        }
        self.pass = pass;
    }

    fn commit(&mut self) {
        self.pass = Pass::default();
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::attention::tensor_cache::TensorKvCache;
    use crate::ops::to_vec;

    const SHAPE: AttentionShape =
        AttentionShape { num_heads: 6, num_kv_heads: 2, head_dim: 8, scale: 0.3, window: None };

    /// Runs a pass of two layers through both caches, which must agree.
    fn pass(caches: &mut [Box<dyn KvCache>; 2], spans: &[Span], window: Option<usize>) {
        let shape = AttentionShape { window, ..SHAPE };
        let rows: usize = spans.iter().map(|span| span.len).sum();
        let random = |heads: usize| {
            let normal = Distribution::Normal(0.0, 1.0);
            Tensor::<2>::random([rows, heads * shape.head_dim], normal, &Device::flex())
        };
        caches.iter_mut().for_each(|cache| cache.begin(spans));
        for layer in 0..2 {
            let (q, k, v) = (random(shape.num_heads), random(2), random(2));
            let found =
                caches.each_mut().map(|cache| to_vec(cache.attend(layer, &shape, &q, &k, &v)));
            assert_eq!(found[0].len(), found[1].len());
            let difference =
                found[0].iter().zip(&found[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 1e-5, "layer {layer}, {spans:?}: {difference}");
        }
        caches.iter_mut().for_each(|cache| cache.commit());
    }

    #[test]
    fn sequences_of_all_lengths_that_share_prompts_agree_with_the_reference() {
        for window in [None, Some(3)] {
            let mut caches: [Box<dyn KvCache>; 2] =
                [Box::new(SlotKvCache::new()), Box::new(TensorKvCache::new())];
            let open = |caches: &mut [Box<dyn KvCache>; 2], parent| {
                let ids = caches.each_mut().map(|cache| cache.open(parent));
                assert_eq!(ids[0], ids[1]);
                ids[0]
            };
            let a = open(&mut caches, None);
            let b = open(&mut caches, None);
            let span = |sequence, len| Span { sequence, len };
            pass(&mut caches, &[span(a, 5), span(b, 2)], window);
            let a1 = open(&mut caches, Some(a));
            let a2 = open(&mut caches, Some(a));
            let b1 = open(&mut caches, Some(b));
            pass(&mut caches, &[span(a1, 1), span(a2, 1), span(b1, 1)], window);
            pass(&mut caches, &[span(a2, 3), span(b1, 1), span(a1, 2)], window);
            caches.iter_mut().for_each(|cache| cache.close(a2));
            let c = open(&mut caches, None);
            pass(&mut caches, &[span(a1, 1), span(c, 4)], window);
            assert_eq!(caches[0].len(a1), caches[1].len(a1));
        }
    }

    #[test]
    fn slots_of_closed_sequences_are_used_again_and_tables_grow() {
        let mut caches: [Box<dyn KvCache>; 2] =
            [Box::new(SlotKvCache::new()), Box::new(TensorKvCache::new())];
        let keep = caches.each_mut().map(|cache| cache.open(None))[0];
        pass(&mut caches, &[Span { sequence: keep, len: 3 }], None);
        for _ in 0..3 {
            let passing = caches.each_mut().map(|cache| cache.open(None))[0];
            let spans = [Span { sequence: passing, len: 600 }, Span { sequence: keep, len: 1 }];
            pass(&mut caches, &spans, None);
            caches.iter_mut().for_each(|cache| cache.close(passing));
        }
        let mut cache = SlotKvCache::new();
        for _ in 0..3 {
            let sequence = cache.open(None);
            cache.begin(&[Span { sequence, len: 700 }]);
            cache.commit();
            cache.close(sequence);
        }
        assert_eq!(cache.used, 700);
        let (first, second) = (cache.open(None), cache.open(None));
        cache.begin(&[Span { sequence: first, len: 700 }, Span { sequence: second, len: 700 }]);
        assert_eq!(cache.used, 1400);
    }
}
