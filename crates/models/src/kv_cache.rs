//! Keys and values of many sequences: one cache for the CPU kernels, one in burn operations.
//!
//! A sequence holds its own tokens and points to its parent, the prompt its group shares. Keys lie
//! as the attention kernel reads them, in panels of 16 positions; see [`crate::kernels`].

use burn::tensor::Tensor;

use crate::attention::{Attend, AttentionShape, KvCache, SequenceId, Span, causal_attention};
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
struct Table<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    fn insert(&mut self, value: T) -> SequenceId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(value);
        SequenceId(place)
    }

    fn remove(&mut self, id: SequenceId) {
        if self.places[id.0].take().is_some() {
            self.free.push(id.0);
        }
    }

    fn get(&self, id: SequenceId) -> &T {
        self.places[id.0].as_ref().expect("the sequence is open")
    }

    fn get_mut(&mut self, id: SequenceId) -> &mut T {
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
        let head_dim = shape.head_dim;
        let mut first_row = 0;
        for span in &self.spans {
            let sequence = self.sequences.get_mut(span.sequence);
            if sequence.layers.len() <= layer {
                sequence.layers.resize_with(layer + 1, Vec::new);
            }
            let heads = &mut sequence.layers[layer];
            heads.resize_with(shape.num_kv_heads, HeadStore::default);
            for (head, store) in heads.iter_mut().enumerate() {
                store.reserve(sequence.len + span.len, head_dim);
                for row in 0..span.len {
                    let key = &k.row(first_row + row)[head * head_dim..][..head_dim];
                    let value = &v.row(first_row + row)[head * head_dim..][..head_dim];
                    store.write(sequence.len + row, key, value);
                }
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
                let store = &sequence.layers[layer][head];
                runs.push(KeyValueRun {
                    len,
                    keys: &store.keys,
                    values: &store.values,
                    capacity: store.capacity,
                });
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
        let flex = [q, k, v].map(|x| {
            let flex = on_cpu(x).expect("this cache is for CPU tensors");
            if rows_of(&flex).is_some() { flex } else { flex.to_contiguous() }
        });
        let [q, k, v] = [0, 1, 2].map(|i| rows_of(&flex[i]).expect("contiguous rows are dense"));
        self.append(layer, shape, k, v);

        let group = shape.num_heads / shape.num_kv_heads;
        let mut tasks = Vec::new();
        let mut first_row = 0;
        let mut work = 0;
        for span in &self.spans {
            let before = self.len(span.sequence);
            for row in (0..span.len).step_by(TILE_ROWS) {
                let rows = TILE_ROWS.min(span.len - row);
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
                    tasks.push((*span, head, task));
                }
            }
            first_row += span.len;
        }
        let this = &*self;
        filled_rows(q.rows(), shape.num_heads * shape.head_dim, |out| {
            for_each_task(tasks.len(), work >= 1 << 16, |task| {
                let (span, head, task) = &tasks[task];
                let runs = this.runs(span.sequence, layer, *head, span.len);
                attend_tile(Isa::best(), task, q, &runs, out);
            });
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
