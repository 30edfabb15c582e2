//! Keys and values of many sequences: one cache for the CPU kernels, one in burn operations.
//!
//! A sequence holds its own tokens and points to its parent, the prompt its group shares. Keys lie
//! as the attention kernel reads them, in panels of 16 positions; see [`crate::kernels`].

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use crate::attention::{
    Attend, AttentionShape, CausalMasks, KvCache, Segment, SegmentAttention, SequenceId, Span,
    causal_attention,
};
use crate::kernels::{AttentionTask, Isa, KeyValueRun, LANES, RowsRef, attend_tile, for_each_task};
use crate::ops::{filled_rows, on_cpu, rows_of};

/// Rows of a sequence that a task attends with; two blocks of the AVX2 product, one of AVX-512.
const TILE_ROWS: usize = 12;
/// Positions a sequence starts with.
const FIRST_CAPACITY: usize = 64;

/// One head's storage in one layer.
#[derive(Clone, Debug, Default)]
struct HeadStore {
    /// `[capacity / 16][head_dim][16]`.
    keys: Vec<f32>,
    /// `[head_dim / 16][capacity][16]`.
    values: Vec<f32>,
    capacity: usize,
}

impl HeadStore {
    fn reserve(&mut self, positions: usize, head_dim: usize) {
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

    /// Writes key head `head` of `rows` of `k` and `v` from `position` on.
    fn write_rows(
        &mut self,
        position: usize,
        head: usize,
        rows: Range<usize>,
        k: RowsRef<'_>,
        v: RowsRef<'_>,
        shape: &AttentionShape,
    ) {
        let columns = head * shape.head_dim..(head + 1) * shape.head_dim;
        for (number, row) in rows.enumerate() {
            let (key, value) = (&k.row(row)[columns.clone()], &v.row(row)[columns.clone()]);
            self.write(position + number, key, value);
        }
    }

    /// The first `len` positions.
    fn run(&self, len: usize) -> KeyValueRun<'_> {
        KeyValueRun { len, keys: &self.keys, values: &self.values, capacity: self.capacity }
    }
}

/// The tensor's CPU storage, in dense rows.
fn cpu_rows(x: &Tensor<2>) -> FlexTensor {
    let flex = on_cpu(x).expect("CPU tensors in single precision");
    if rows_of(&flex).is_some() { flex } else { flex.to_contiguous() }
}

#[derive(Clone, Debug)]
struct Sequence {
    parent: Option<SequenceId>,
    /// Position of the first token that is its own.
    start: usize,
    /// Own tokens.
    len: usize,
    /// `[layer][kv head]`.
    layers: Vec<Vec<HeadStore>>,
}

/// A table of sequences with reuse of free places.
#[derive(Clone, Debug)]
pub(crate) struct Table<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    pub(crate) fn insert(&mut self, value: T) -> SequenceId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(value);
        SequenceId(place)
    }

    pub(crate) fn remove(&mut self, id: SequenceId) -> Option<T> {
        let removed = self.places[id.0].take();
        if removed.is_some() {
            self.free.push(id.0);
        }
        removed
    }

    pub(crate) fn get(&self, id: SequenceId) -> &T {
        self.places[id.0].as_ref().expect("the sequence is open")
    }

    pub(crate) fn get_mut(&mut self, id: SequenceId) -> &mut T {
        self.places[id.0].as_mut().expect("the sequence is open")
    }
}

/// The cache that the CPU attention kernel reads.
#[derive(Clone, Debug, Default)]
pub struct CpuKvCache {
    sequences: Table<Sequence>,
    spans: Vec<Span>,
}

impl CpuKvCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the pass's keys and values of one layer behind what is there.
    fn append(&mut self, layer: usize, shape: &AttentionShape, k: RowsRef<'_>, v: RowsRef<'_>) {
        let mut first_row = 0;
        for span in &self.spans {
            let sequence = self.sequences.get_mut(span.sequence);
            if sequence.layers.len() <= layer {
                sequence.layers.resize_with(layer + 1, Vec::new);
            }
            let heads = &mut sequence.layers[layer];
            heads.resize_with(shape.num_kv_heads, HeadStore::default);
            for (head, store) in heads.iter_mut().enumerate() {
                store.reserve(sequence.len + span.len, shape.head_dim);
                let rows = first_row..first_row + span.len;
                store.write_rows(sequence.len, head, rows, k, v, shape);
            }
            first_row += span.len;
        }
    }

    /// The runs that hold a head's keys, from position 0, with `new` tokens counted in.
    fn runs(&self, id: SequenceId, layer: usize, head: usize, new: usize) -> Vec<KeyValueRun<'_>> {
        let mut runs = Vec::with_capacity(2);
        let mut next = Some((id, new));
        while let Some((id, new)) = next {
            let sequence = self.sequences.get(id);
            let len = sequence.len + new;
            if len > 0 {
                runs.push(sequence.layers[layer][head].run(len));
            }
            next = sequence.parent.map(|parent| (parent, 0));
        }
        runs.reverse();
        runs
    }
}

impl Attend for CpuKvCache {
    fn attend(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        let flex = [q, k, v].map(cpu_rows);
        let [q, k, v] = [0, 1, 2].map(|i| rows_of(&flex[i]).expect("contiguous rows are dense"));
        self.append(layer, shape, k, v);

        let spans: Vec<_> =
            self.spans.iter().map(|span| (span.len, self.len(span.sequence))).collect();
        let this = &*self;
        attend_spans(shape, q, &spans, |number, head| {
            let span = this.spans[number];
            this.runs(span.sequence, layer, head, span.len)
        })
    }
}

/// Attends with the rows of spans, given as their length and the position of their first row, one
/// after the other. `runs` gives a span's keys under a key head, its own included.
fn attend_spans<'a>(
    shape: &AttentionShape,
    q: RowsRef<'_>,
    spans: &[(usize, usize)],
    runs: impl Fn(usize, usize) -> Vec<KeyValueRun<'a>> + Sync + Send,
) -> Tensor<2> {
    let group = shape.num_heads / shape.num_kv_heads;
    let mut tasks = Vec::new();
    let (mut first_row, mut work) = (0, 0);
    for (number, (len, before)) in spans.iter().enumerate() {
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
                tasks.push((number, head, task));
            }
        }
        first_row += len;
    }
    filled_rows(q.rows(), shape.num_heads * shape.head_dim, |out| {
        for_each_task(tasks.len(), work >= 1 << 16, |task| {
            let (number, head, task) = &tasks[task];
            attend_tile(Isa::best(), task, q, &runs(*number, *head), out);
        });
    })
}

impl SegmentAttention {
    /// Attention as [`CpuKvCache`] computes it, to the bit, of CPU tensors outside of autodiff.
    pub(crate) fn forward_on_cpu(
        &self,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        let flex = [q, k, v].map(cpu_rows);
        let [q, k, v] = [0, 1, 2].map(|i| rows_of(&flex[i]).expect("contiguous rows are dense"));
        let stores: Vec<Vec<HeadStore>> = self
            .segments()
            .iter()
            .zip(self.first_rows())
            .map(|(segment, first_row)| {
                let head = |head: usize| {
                    let mut store = HeadStore::default();
                    store.reserve(segment.len, shape.head_dim);
                    store.write_rows(0, head, *first_row..first_row + segment.len, k, v, shape);
                    store
                };
                (0..shape.num_kv_heads).map(head).collect()
            })
            .collect();
        let before = |segment: &Segment| segment.parent.map_or(0, |p| self.segments()[p].len);
        let spans: Vec<_> = self.segments().iter().map(|s| (s.len, before(s))).collect();
        attend_spans(shape, q, &spans, |number, head| {
            let parent = self.segments()[number].parent;
            let sequence = parent.into_iter().chain([number]);
            sequence.map(|s| stores[s][head].run(self.segments()[s].len)).collect()
        })
    }
}

impl KvCache for CpuKvCache {
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId {
        let start = parent.map_or(0, |parent| self.len(parent));
        self.sequences.insert(Sequence { parent, start, len: 0, layers: Vec::new() })
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(sequence);
    }

    fn len(&self, sequence: SequenceId) -> usize {
        let sequence = self.sequences.get(sequence);
        sequence.start + sequence.len
    }

    fn begin(&mut self, spans: &[Span]) {
        self.spans = spans.to_vec();
    }

    fn commit(&mut self) {
        for span in std::mem::take(&mut self.spans) {
            self.sequences.get_mut(span.sequence).len += span.len;
        }
    }
}

#[derive(Clone, Debug)]
struct TensorSequence {
    parent: Option<SequenceId>,
    start: usize,
    len: usize,
    /// Keys and values of each layer, `[len, kv_heads · head_dim]`.
    layers: Vec<(Tensor<2>, Tensor<2>)>,
}

/// The same in burn operations, for devices without kernels of ours and as the reference.
#[derive(Clone, Debug, Default)]
pub struct TensorKvCache {
    sequences: Table<TensorSequence>,
    spans: Vec<Span>,
}

impl TensorKvCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Attend for TensorKvCache {
    fn attend(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        let mut first = 0;
        let mut masks = CausalMasks::default();
        let mut parts = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, first, span.len);
            let sequence = self.sequences.get_mut(span.sequence);
            let (new_k, new_v) = (rows(k), rows(v));
            let parent = sequence.parent;
            let own = match sequence.layers.get(layer) {
                Some((k, v)) => {
                    (Tensor::cat(vec![k.clone(), new_k], 0), Tensor::cat(vec![v.clone(), new_v], 0))
                }
                None => (new_k, new_v),
            };
            if layer < sequence.layers.len() {
                sequence.layers[layer] = own.clone();
            } else {
                sequence.layers.push(own.clone());
            }
            let (mut k_all, mut v_all) = (vec![own.0], vec![own.1]);
            let mut next = parent;
            while let Some(id) = next {
                let sequence = self.sequences.get(id);
                if let Some((k, v)) = sequence.layers.get(layer) {
                    k_all.insert(0, k.clone());
                    v_all.insert(0, v.clone());
                }
                next = sequence.parent;
            }
            parts.push(causal_attention(
                shape,
                &mut masks,
                rows(q),
                Tensor::cat(k_all, 0),
                Tensor::cat(v_all, 0),
            ));
            first += span.len;
        }
        Tensor::cat(parts, 0)
    }
}

impl KvCache for TensorKvCache {
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId {
        let start = parent.map_or(0, |parent| self.len(parent));
        self.sequences.insert(TensorSequence { parent, start, len: 0, layers: Vec::new() })
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(sequence);
    }

    fn len(&self, sequence: SequenceId) -> usize {
        let sequence = self.sequences.get(sequence);
        sequence.start + sequence.len
    }

    fn begin(&mut self, spans: &[Span]) {
        self.spans = spans.to_vec();
    }

    fn commit(&mut self) {
        for span in std::mem::take(&mut self.spans) {
            self.sequences.get_mut(span.sequence).len += span.len;
        }
    }
}
