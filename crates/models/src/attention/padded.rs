//! Attention of whole sequences in burn operations, for devices where a few large operations are faster
//! than many small ones.
//!
//! The rows of a pass are laid out in padded blocks. A block is attended at once, so that the number of
//! operations does not depend on the number of sequences. Under autodiff it is one node that stores its
//! inputs and the logarithm of each row's sum; weights are computed again for the gradient, block by block
//! (Dao et al. 2022, section 3.1). With `S = scale · q kᵀ`, `P = softmax(S)` and `o = P v`,
//!
//! `dv = Pᵀ do`, `dS = P ∘ (do vᵀ − Σ P ∘ do vᵀ)`, `dq = scale · dS k`, `dk = scale · dSᵀ q`.
//!
//! Shapes: `r` rows of the pass, `p` rows with padding, `f` prompt groups, `n`
//! sequences of a block, `m` rows of each, `s` keys that each may attend to, `h` query heads, `k` key
//! heads, `g` query heads per key head, `d` head dimension.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::{Device, Tensor};
use burn_flex::Flex;

use super::padded_layout::{Bucket, PaddedBlock, PaddedLayout, WEIGHTS_AT_ONCE};
use super::segment::PromptGroup;
use super::shape::AttentionShape;
use super::softmax::{masked_softmax, masked_softmax_backward};
use crate::ops::autodiff_node::{Gradient, primitive, record, track_all, value};

/// The heads of a row.
#[derive(Clone, Copy, Debug)]
struct Heads {
    /// Key heads, `k`.
    num_kv_heads: usize,
    /// Query heads of each, `g`.
    group: usize,
    /// `d`.
    head_dim: usize,
}

impl Heads {
    /// Splits a block's rows of `[p, h · d]` into `[n, k, g · m, d]`.
    fn queries(self, padded: &Tensor<2>, block: &PaddedBlock) -> Tensor<4> {
        self.split(padded, block, self.group)
    }

    /// Splits a block's rows of `[p, k · d]` into `[n, k, m, d]`.
    fn keys(self, padded: &Tensor<2>, block: &PaddedBlock) -> Tensor<4> {
        self.split(padded, block, 1)
    }

    fn split(self, padded: &Tensor<2>, block: &PaddedBlock, group: usize) -> Tensor<4> {
        let Self { num_kv_heads, head_dim, .. } = self;
        let PaddedBlock { rows, sequences, len, .. } = block;
        let x: Tensor<5> = padded.clone().narrow(0, rows.start, rows.len()).reshape([
            *sequences,
            *len,
            num_kv_heads,
            group,
            head_dim,
        ]);
        let x = x.permute([0, 2, 3, 1, 4]);
        x.reshape([*sequences, num_kv_heads, group * len, head_dim])
    }

    /// Inverts [`Self::queries`] and, with one query head per key head, [`Self::keys`].
    fn joined(self, x: Tensor<4>, block: &PaddedBlock) -> Tensor<2> {
        let Self { num_kv_heads, head_dim, .. } = self;
        let PaddedBlock { rows, sequences, len, .. } = block;
        let group = x.dims()[2] / len;
        let x = x.reshape([*sequences, num_kv_heads, group, *len, head_dim]);
        let x = x.permute([0, 3, 1, 2, 4]);
        x.reshape([rows.len(), num_kv_heads * group * head_dim])
    }

    /// Joins the keys that a block attends to: those of the prompts `[f, k, s, d]`, repeated for every
    /// continuation, before its own `[n, k, m, d]`.
    fn visible(prompts: &Tensor<4>, own: Tensor<4>) -> Tensor<4> {
        let ([groups, heads, len, dim], [sequences, ..]) = (prompts.dims(), own.dims());
        let each = sequences / groups;
        let prompts: Tensor<5> = prompts.clone().unsqueeze_dim(1);
        let prompts = prompts.expand([groups, each, heads, len, dim]);
        Tensor::cat(vec![prompts.reshape([sequences, heads, len, dim]), own], 2)
    }

    /// Computes the gradients of both inputs of [`Self::visible`].
    fn visible_gradients(grad: Tensor<4>, groups: usize, len: usize) -> [Tensor<4>; 2] {
        let [sequences, heads, keys, dim] = grad.dims();
        let own = grad.clone().narrow(2, len, keys - len);
        let each = sequences / groups;
        let prompts = grad.narrow(2, 0, len).reshape([groups, each, heads, len, dim]);
        [prompts.sum_dim(1).squeeze_dim(1), own]
    }
}

/// Masks of the blocks of all buckets.
type Masks = Arc<Vec<Tensor<3>>>;

/// Attention of the sequences of a pass.
#[derive(Clone, Debug)]
pub(crate) struct PaddedAttention {
    layout: Arc<PaddedLayout>,
    /// Masks by window.
    masks: Vec<(Option<usize>, Masks)>,
}

impl PaddedAttention {
    /// Lays out the sequences of groups, for the number of heads of `shape`.
    pub(crate) fn new(groups: Vec<PromptGroup>, shape: &AttentionShape, device: &Device) -> Self {
        let layout = PaddedLayout::new(groups, shape.num_heads, WEIGHTS_AT_ONCE, device);
        Self { layout: Arc::new(layout), masks: Vec::new() }
    }

    /// Returns the attention of a layer with this shape.
    fn layer(&mut self, shape: &AttentionShape) -> PaddedLayer {
        let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = *shape;
        let known = self.masks.iter().find(|(of, _)| *of == window);
        let masks = if let Some((_, masks)) = known {
            masks.clone()
        } else {
            let blocks = self.layout.buckets.iter().flat_map(Bucket::blocks);
            let masks: Masks = Arc::new(blocks.map(|block| block.mask(window)).collect());
            self.masks.push((window, masks.clone()));
            masks
        };
        let heads = Heads { num_kv_heads, group: num_heads / num_kv_heads, head_dim };
        PaddedLayer { layout: self.layout.clone(), masks, heads, scale }
    }

    /// Computes the attention of the pass's rows; under autodiff, as one node.
    ///
    /// # Shapes
    ///
    /// See [`crate::Attend::attend`].
    pub(crate) fn attend(&mut self, shape: &AttentionShape, inputs: [&Tensor<2>; 3]) -> Tensor<2> {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        if let Some(mixed) = self.recorded::<burn::backend::Cube>(shape, inputs) {
            return mixed;
        }
        self.recorded::<Flex>(shape, inputs).unwrap_or_else(|| self.plain(shape, inputs))
    }

    /// Records attention as one node, if an input is under autodiff on backend `B`.
    fn recorded<B: Backend>(
        &mut self,
        shape: &AttentionShape,
        [q, k, v]: [&Tensor<2>; 3],
    ) -> Option<Tensor<2>>
    where
        DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
    {
        let inputs = track_all::<B, 3>([q, k, v])?;
        let layer = self.layer(shape);
        let values = inputs.each_ref().map(value::<B, 2>);
        let (output, log_sums) = layer.forward(values.each_ref());
        Some(record::<B, _, 3, 2>(
            inputs,
            BackwardState { layer, inputs: values, log_sums },
            output,
        ))
    }

    /// Computes attention in burn operations, which autodiff records one by one.
    fn plain(&mut self, shape: &AttentionShape, inputs: [&Tensor<2>; 3]) -> Tensor<2> {
        self.layer(shape).forward(inputs).0
    }
}

#[derive(Clone, Debug)]
struct PaddedLayer {
    layout: Arc<PaddedLayout>,
    masks: Masks,
    heads: Heads,
    scale: f32,
}

impl PaddedLayer {
    /// Returns the output, `[r, h · d]`, and the logarithms of the sums of each block, `[n, k, g · m, 1]`.
    fn forward(&self, inputs: [&Tensor<2>; 3]) -> (Tensor<2>, Vec<Tensor<4>>) {
        let Self { layout, heads, .. } = self;
        let [q, k, v] = inputs.map(|x| layout.padded(x));
        let (mut outputs, mut log_sums) = (Vec::new(), Vec::new());
        let mut masks = self.masks.iter();
        let mut mix = |block: &PaddedBlock, k: Tensor<4>, v: Tensor<4>| {
            let mask = masks.next().expect("one per block");
            let products = heads.queries(&q, block).matmul(k.swap_dims(2, 3));
            let (weights, sums) = masked_softmax(&products, mask, self.scale);
            log_sums.push(sums);
            outputs.push(heads.joined(weights.matmul(v), block));
        };
        for Bucket { prompts, continuations } in &layout.buckets {
            let [prompt_k, prompt_v] = [&k, &v].map(|x| heads.keys(x, prompts));
            mix(prompts, prompt_k.clone(), prompt_v.clone());
            for block in continuations {
                let [k, v] = [(&prompt_k, &k), (&prompt_v, &v)]
                    .map(|(prompts, x)| Heads::visible(prompts, heads.keys(x, block)));
                mix(block, k, v);
            }
        }
        (layout.unpadded(outputs), log_sums)
    }
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    layer: PaddedLayer,
    inputs: [Tensor<2>; 3],
    log_sums: Vec<Tensor<4>>,
}

impl BackwardState {
    /// Computes the gradients of the three inputs from that of the output.
    fn gradients(&self, grad: &Tensor<2>) -> [Tensor<2>; 3] {
        let PaddedLayer { layout, masks, heads, .. } = &self.layer;
        let [q, k, v] = self.inputs.each_ref().map(|x| layout.padded(x));
        let grad = layout.padded(grad) * layout.is_row.clone().cast(grad.dtype());
        let mut grads: [Vec<Tensor<2>>; 3] = Default::default();
        let mut blocks = masks.iter().zip(&self.log_sums);
        for Bucket { prompts, continuations } in &layout.buckets {
            let [prompt_k, prompt_v] = [&k, &v].map(|x| heads.keys(x, prompts));
            let mut of_block = |block: &PaddedBlock, k: Tensor<4>, v: Tensor<4>| {
                let (mask, log_sums) = blocks.next().expect("one per block");
                let (q, grad) = (heads.queries(&q, block), heads.queries(&grad, block));
                let [dq, dk, dv] = self.block_gradients([q, k, v], &grad, mask, log_sums);
                (heads.joined(dq, block), [dk, dv])
            };
            let (dq, mut of_prompts) = of_block(prompts, prompt_k.clone(), prompt_v.clone());
            let mut of_bucket = [vec![dq], Vec::new(), Vec::new()];
            for block in continuations {
                let [k, v] = [(&prompt_k, &k), (&prompt_v, &v)]
                    .map(|(prompts, x)| Heads::visible(prompts, heads.keys(x, block)));
                let (dq, of_visible) = of_block(block, k, v);
                of_bucket[0].push(dq);
                let (groups, len) = (prompts.sequences, prompts.len);
                for ((sum, grad), parts) in
                    of_prompts.iter_mut().zip(of_visible).zip(&mut of_bucket[1..])
                {
                    let [of_prompts, own] = Heads::visible_gradients(grad, groups, len);
                    *sum = sum.clone() + of_prompts;
                    parts.push(heads.joined(own, block));
                }
            }
            for (parts, grad) in of_bucket[1..].iter_mut().zip(of_prompts) {
                parts.insert(0, heads.joined(grad, prompts));
            }
            grads.iter_mut().zip(of_bucket).for_each(|(all, more)| all.extend(more));
        }
        grads.map(|parts| layout.unpadded(parts))
    }

    /// Computes the gradients of a block's queries and of the keys and values it attends to.
    fn block_gradients(
        &self,
        [q, k, v]: [Tensor<4>; 3],
        grad: &Tensor<4>,
        mask: &Tensor<3>,
        log_sums: &Tensor<4>,
    ) -> [Tensor<4>; 3] {
        let products = q.clone().matmul(k.clone().swap_dims(2, 3));
        let of_weights = grad.clone().matmul(v.swap_dims(2, 3));
        let read = [&products, log_sums, &of_weights];
        let [weights, of_products] = masked_softmax_backward(read, mask, self.layer.scale);
        let dv = weights.swap_dims(2, 3).matmul(grad.clone());
        let dk = of_products.clone().swap_dims(2, 3).matmul(q);
        [of_products.matmul(k), dk, dv]
    }
}

impl<B: Backend> Gradient<B, 3> for BackwardState
where
    DispatchTensor: DispatchKindConversion<B>,
{
    fn backward(self, grad: FloatTensor<B>, _: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        let grad = Tensor::<2>::from_primitive::<B>(grad);
        self.gradients(&grad).map(|grad| Some(primitive::<B, 2>(grad)))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::attention::causal::{CausalMasks, causal_attention};
    use crate::attention::segment::Segment;
    use crate::attention::segments::SegmentAttention;
    use crate::ops::to_vec;

    const SHAPE: AttentionShape =
        AttentionShape { num_heads: 4, num_kv_heads: 2, head_dim: 6, scale: 0.4, window: None };

    fn segments() -> Vec<Segment> {
        let root = |len| Segment { len, parent: None };
        let after = |parent, len| Segment { len, parent: Some(parent) };
        vec![
            root(3),
            after(0, 2),
            after(0, 7),
            root(1),
            root(70),
            after(3, 1),
            root(5),
            after(6, 3),
            after(0, 1),
            after(4, 9),
        ]
    }

    /// Attends sequence by sequence, in operations that burn differentiates.
    fn one_by_one(shape: &AttentionShape, [q, k, v]: [&Tensor<2>; 3]) -> Tensor<2> {
        let attention = SegmentAttention::new(segments());
        let mut masks = CausalMasks::default();
        let parts = attention.segments().iter().enumerate().map(|(index, segment)| {
            let rows = |x: &Tensor<2>, index: usize| {
                x.clone().narrow(0, attention.first_rows()[index], attention.segments()[index].len)
            };
            let seen = |x: &Tensor<2>| match segment.parent {
                Some(parent) => Tensor::cat(vec![rows(x, parent), rows(x, index)], 0),
                None => rows(x, index),
            };
            causal_attention(shape, &mut masks, rows(q, index), seen(k), seen(v))
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// Returns the output and the gradients of queries, keys and values.
    fn run(
        attend: impl FnOnce([&Tensor<2>; 3]) -> Tensor<2>,
        inputs: &[Tensor<2>; 4],
    ) -> Vec<Vec<f32>> {
        let [q, k, v] = [0, 1, 2].map(|i| inputs[i].clone().autodiff().require_grad());
        let output = attend([&q, &k, &v]);
        let loss = (output.clone() * inputs[3].clone().autodiff()).sum();
        let mut gradients = loss.backward();
        let of = [&q, &k, &v].map(|x| x.grad_remove(&mut gradients).expect("it is a leaf"));
        std::iter::once(output.without_autodiff()).chain(of).map(to_vec).collect()
    }

    #[test]
    fn blocks_agree_with_sequences_one_by_one() {
        let rows = segments().iter().map(|segment| segment.len).sum();
        let normal = Distribution::Normal(0.0, 1.0);
        let device = Device::flex();
        let inputs =
            [24, 12, 12, 24].map(|cols| Tensor::<2>::random([rows, cols], normal, &device));
        let groups = SegmentAttention::new(segments()).prompt_groups();
        for window in [None, Some(4)] {
            let shape = AttentionShape { window, ..SHAPE };
            let expected = run(|inputs| one_by_one(&shape, inputs), &inputs);
            for (at_once, blocks) in [(WEIGHTS_AT_ONCE, 5), (200, 7)] {
                let layout = PaddedLayout::new(groups.clone(), SHAPE.num_heads, at_once, &device);
                let count = layout.buckets.iter().flat_map(Bucket::blocks).count();
                assert_eq!(count, blocks, "{at_once}");
                let padded = PaddedAttention { layout: Arc::new(layout), masks: Vec::new() };
                let node = run(
                    |inputs| {
                        padded.clone().recorded::<Flex>(&shape, inputs).expect("under autodiff")
                    },
                    &inputs,
                );
                let plain = run(|inputs| padded.clone().plain(&shape, inputs), &inputs);
                for found in [node, plain] {
                    for (found, expected) in found.iter().zip(&expected) {
                        assert_eq!(found.len(), expected.len());
                        let far = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
                        let far = far.fold(0.0, f32::max);
                        assert!(far < 2e-5, "{far}");
                    }
                }
            }
        }
    }
}
