//! The cache of the CPU kernels.

use burn::tensor::Tensor;

use super::cache::{KvCache, SequenceCache, SequenceId};
use super::cpu::{HeadStore, KeyValueRun, attend_spans};
use super::shape::{Attend, AttentionShape};
use crate::kernels::RowsRef;
use crate::ops::cpu_support::{dense, on_cpu, rows};

/// The cache that the CPU kernels read. A layer of a sequence has a store per key head.
pub type CpuKvCache = SequenceCache<Vec<HeadStore>>;

impl CpuKvCache {
    /// Appends the pass's keys and values of one layer.
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

    /// Returns the runs of a head's keys from position 0, with `new` tokens at the end.
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
        let flex = [q, k, v].map(|x| dense(on_cpu(x).expect("CPU tensors in single precision")));
        let [q, k, v] = flex.each_ref().map(rows);
        self.append(layer, shape, k, v);

        let spans: Vec<_> =
            self.spans.iter().map(|span| (span.len, self.len(span.sequence))).collect();
        let this = &*self;
        attend_spans(shape, q, &spans, |index, head| {
            let span = this.spans[index];
            this.runs(span.sequence, layer, head, span.len)
        })
    }
}
