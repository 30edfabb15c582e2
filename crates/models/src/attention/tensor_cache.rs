//! A cache in burn operations, for devices without kernels of ours and as the reference.

use burn::tensor::Tensor;

use super::cache::SequenceCache;
use super::causal::{CausalMasks, causal_attention};
use super::shape::{Attend, AttentionShape};

/// A cache in burn operations. A layer of a sequence has keys and values, `[len, kv_heads · head_dim]`.
pub type TensorKvCache = SequenceCache<(Tensor<2>, Tensor<2>)>;

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
