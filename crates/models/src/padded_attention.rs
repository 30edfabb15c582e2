//! Attention of whole sequences in burn operations, for devices where a few large operations win over
//! many small ones.
//!
//! The rows of a pass are laid out in blocks: prompts of like length in one, what continues them in
//! others, every sequence padded to the longest of its block. A block is attended at once, so that the
//! number of operations does not depend on the number of sequences. Under autodiff it is one node that
//! keeps what goes in and the logarithm of each row's sum; weights are computed again for the gradient
//! (Dao et al. 2022, section 3.1, a block at a time). With `S = scale · q kᵀ`, `P = softmax(S)` and `o = P v`,
//!
//! `dv = Pᵀ do`, `dS = P ∘ (do vᵀ − Σ P ∘ do vᵀ)`, `dq = scale · dS k`, `dk = scale · dSᵀ q`.
//!
//! Shapes: `r` rows of the pass, `p` rows with padding, `f` families (a prompt and what continues it),
//! `c` continuations of each, `n` sequences of a block, `m` rows of each, `s` keys that each sees,
//! `h` query heads, `k` key heads, `g` query heads a key head, `d` head dimension.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::attention::AttentionShape;
use crate::kernels::{Family, Part};
use crate::masked_softmax::{masked_softmax, masked_softmax_backward};
use crate::ops::indices;
use crate::recorded::{Gradient, primitive, record, tracked, value};

/// Weights of attention that are held at once, in numbers: half a gigabyte. A family's prompt, and one
/// continuation of each family, are a block at least.
const WEIGHTS_AT_ONCE: usize = 1 << 27;

/// A position behind all others: a key there is seen by no row.
const NOWHERE: f32 = 1e9;

/// Sequences of one padded length.
#[derive(Clone, Debug)]
struct Block {
    /// Where its rows lie among the rows with padding.
    rows: Range<usize>,
    /// Sequences, `n`.
    sequences: usize,
    /// Rows of each, `m`.
    len: usize,
    /// The position of each row, `[n, m, 1]`.
    row_positions: Tensor<3>,
    /// The position of each key, `[n, 1, s]`.
    key_positions: Tensor<3>,
}

impl Block {
    /// What is added to scores, `[n, m, s]`: 0 where a key is seen, minus infinity elsewhere.
    fn mask(&self, window: Option<usize>) -> Tensor<3> {
        let behind = self.row_positions.clone() - self.key_positions.clone();
        let hidden = behind.clone().lower_elem(0.0);
        let hidden = match window {
            Some(window) => hidden.bool_or(behind.clone().greater_equal_elem(window as f32)),
            None => hidden,
        };
        behind.zeros_like().mask_fill(hidden, f32::NEG_INFINITY)
    }
}

/// Families whose prompts are a block.
#[derive(Clone, Debug)]
struct Bucket {
    prompts: Block,
    /// Blocks of continuations, each with as many of every family, family after family.
    continuations: Vec<Block>,
}

impl Bucket {
    fn blocks(&self) -> impl Iterator<Item = &Block> {
        std::iter::once(&self.prompts).chain(&self.continuations)
    }
}

/// Where the rows of a pass lie with padding.
#[derive(Clone, Debug)]
struct Layout {
    buckets: Vec<Bucket>,
    /// The row at each place, `p`; row 0 where there is padding.
    rows: Tensor<1, Int>,
    /// 1 at places of rows, 0 at padding, `[p, 1]`.
    is_row: Tensor<2>,
    /// The place of each row, `r`.
    places: Tensor<1, Int>,
}

/// Lays out rows block by block.
struct Padding<'a> {
    device: &'a Device,
    rows: Vec<Option<usize>>,
}

impl Padding<'_> {
    /// A block of parts, each with the length of its prompt, padded to the longest; `seen` keys of prompts
    /// come before its own.
    fn block(&mut self, parts: &[(Option<Part>, usize)], seen: usize) -> Block {
        let first = self.rows.len();
        let part_len = |part: &Option<Part>| part.as_ref().map_or(0, |part| part.len);
        let len = parts.iter().map(|(part, _)| part_len(part)).max().unwrap_or(0);
        let (mut row_positions, mut key_positions) = (Vec::new(), Vec::new());
        for (part, before) in parts {
            let (rows, padding) = (part_len(part), len - part_len(part));
            let first_row = part.as_ref().map_or(0, |part| part.first_row);
            self.rows.extend((first_row..first_row + rows).map(Some));
            self.rows.extend(std::iter::repeat_n(None, padding));
            let positions = (*before..before + rows).map(|position| position as f32);
            // Padding is at position 0 and so sees a key.
            row_positions.extend(positions.clone().chain(std::iter::repeat_n(0.0, padding)));
            key_positions.extend((0..*before).map(|position| position as f32));
            key_positions.extend(std::iter::repeat_n(NOWHERE, seen - before));
            key_positions.extend(positions.chain(std::iter::repeat_n(NOWHERE, padding)));
        }
        let tensor = |positions: Vec<f32>, shape: [usize; 3]| {
            Tensor::from_data(TensorData::new(positions, shape), self.device)
        };
        let sequences = parts.len();
        Block {
            rows: first..self.rows.len(),
            sequences,
            len,
            row_positions: tensor(row_positions, [sequences, len, 1]),
            key_positions: tensor(key_positions, [sequences, 1, seen + len]),
        }
    }
}

impl Layout {
    /// Of families; a row has `num_heads` weights for each key, of which `at_once` are held at once.
    fn new(mut families: Vec<Family>, num_heads: usize, at_once: usize, device: &Device) -> Self {
        families.retain(|family| family.prompt.len > 0);
        families.sort_by_key(|family| family.prompt.len);
        for family in &mut families {
            family.continuations.retain(|part| part.len > 0);
            family.continuations.sort_by_key(|part| std::cmp::Reverse(part.len));
        }
        let mut padding = Padding { device, rows: Vec::new() };
        let mut buckets = Vec::new();
        let mut rest = families.as_slice();
        while let Some(first) = rest.first() {
            // Prompts up to twice as long as the shortest, as many as there is room for.
            let bound = (2 * first.prompt.len).max(64);
            let fits = |(number, family): &(usize, &Family)| {
                let len = family.prompt.len;
                len <= bound && num_heads * (number + 1) * len * len <= at_once
            };
            let count = rest.iter().enumerate().take_while(fits).count().max(1);
            let families;
            (families, rest) = rest.split_at(count);
            buckets.push(Self::bucket(families, num_heads, at_once, &mut padding));
        }
        let num_rows = padding.rows.iter().flatten().count();
        let mut places = vec![0; num_rows];
        for (place, row) in padding.rows.iter().enumerate() {
            if let Some(row) = row {
                places[*row] = place;
            }
        }
        let rows: Vec<usize> = padding.rows.iter().map(|row| row.unwrap_or(0)).collect();
        let is_row: Vec<f32> =
            padding.rows.iter().map(|row| f32::from(u8::from(row.is_some()))).collect();
        let shape = [is_row.len(), 1];
        Self {
            buckets,
            rows: indices(&rows, device),
            is_row: Tensor::from_data(TensorData::new(is_row, shape), device),
            places: indices(&places, device),
        }
    }

    fn bucket(
        families: &[Family],
        num_heads: usize,
        at_once: usize,
        padding: &mut Padding<'_>,
    ) -> Bucket {
        let prompts: Vec<_> = families.iter().map(|family| (Some(family.prompt), 0)).collect();
        let prompts = padding.block(&prompts, 0);
        let most = families.iter().map(|family| family.continuations.len()).max().unwrap_or(0);
        let longest = |number: usize| {
            let lengths = families.iter().filter_map(|family| family.continuations.get(number));
            lengths.map(|part| part.len).max().unwrap_or(0)
        };
        let mut continuations = Vec::new();
        let mut first = 0;
        while first < most {
            // They are sorted: the first one of a block is the longest.
            let len = longest(first);
            let one = num_heads * families.len() * len * (prompts.len + len);
            let count = (at_once / one.max(1)).clamp(1, most - first);
            // Shorter than half the longest ones: another block.
            let count = (1..count).find(|n| 2 * longest(first + n) < len).unwrap_or(count);
            let parts: Vec<_> = families
                .iter()
                .flat_map(|family| {
                    (first..first + count).map(|number| {
                        (family.continuations.get(number).copied(), family.prompt.len)
                    })
                })
                .collect();
            continuations.push(padding.block(&parts, prompts.len));
            first += count;
        }
        Bucket { prompts, continuations }
    }

    /// Rows with padding, `[r, ..]` to `[p, ..]`.
    fn padded(&self, x: &Tensor<2>) -> Tensor<2> {
        x.clone().select(0, self.rows.clone())
    }

    /// Parts one after the other without padding, `[p, ..]` to `[r, ..]`.
    fn unpadded(&self, parts: Vec<Tensor<2>>) -> Tensor<2> {
        Tensor::cat(parts, 0).select(0, self.places.clone())
    }
}

/// How heads lie in rows.
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
    /// A block's part of `[p, h · d]` as `[n, k, g · m, d]`.
    fn queries(self, padded: &Tensor<2>, block: &Block) -> Tensor<4> {
        self.split(padded, block, self.group)
    }

    /// A block's part of `[p, k · d]` as `[n, k, m, d]`.
    fn keys(self, padded: &Tensor<2>, block: &Block) -> Tensor<4> {
        self.split(padded, block, 1)
    }

    fn split(self, padded: &Tensor<2>, block: &Block, group: usize) -> Tensor<4> {
        let Self { num_kv_heads, head_dim, .. } = self;
        let Block { rows, sequences, len, .. } = block;
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

    /// The way back from [`Self::queries`] and, with one head a group, [`Self::keys`].
    fn joined(self, x: Tensor<4>, block: &Block) -> Tensor<2> {
        let Self { num_kv_heads, head_dim, .. } = self;
        let Block { rows, sequences, len, .. } = block;
        let group = x.dims()[2] / len;
        let x = x.reshape([*sequences, num_kv_heads, group, *len, head_dim]);
        let x = x.permute([0, 3, 1, 2, 4]);
        x.reshape([rows.len(), num_kv_heads * group * head_dim])
    }

    /// The keys that the rows of a block see: those of the prompts `[f, k, s, d]`, once a continuation,
    /// before its own `[n, k, m, d]`.
    fn seen(prompts: &Tensor<4>, own: Tensor<4>) -> Tensor<4> {
        let ([families, heads, len, dim], [sequences, ..]) = (prompts.dims(), own.dims());
        let each = sequences / families;
        let prompts: Tensor<5> = prompts.clone().unsqueeze_dim(1);
        let prompts = prompts.expand([families, each, heads, len, dim]);
        Tensor::cat(vec![prompts.reshape([sequences, heads, len, dim]), own], 2)
    }

    /// The gradients of both inputs of [`Self::seen`].
    fn seen_gradients(grad: Tensor<4>, families: usize, len: usize) -> [Tensor<4>; 2] {
        let [sequences, heads, keys, dim] = grad.dims();
        let own = grad.clone().narrow(2, len, keys - len);
        let each = sequences / families;
        let prompts = grad.narrow(2, 0, len).reshape([families, each, heads, len, dim]);
        [prompts.sum_dim(1).squeeze_dim(1), own]
    }
}

/// Masks of the blocks of all buckets.
type Masks = Arc<Vec<Tensor<3>>>;

/// Attention of the sequences of a pass.
#[derive(Clone, Debug)]
pub(crate) struct PaddedAttention {
    layout: Arc<Layout>,
    /// By window.
    masks: Vec<(Option<usize>, Masks)>,
}

impl PaddedAttention {
    /// Of sequences, for the number of heads of `shape`.
    pub(crate) fn new(families: Vec<Family>, shape: &AttentionShape, device: &Device) -> Self {
        let layout = Layout::new(families, shape.num_heads, WEIGHTS_AT_ONCE, device);
        Self { layout: Arc::new(layout), masks: Vec::new() }
    }

    /// What a layer with this shape does with the rows.
    fn layer(&mut self, shape: &AttentionShape) -> PaddedLayer {
        let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = *shape;
        let made = self.masks.iter().find(|(made, _)| *made == window);
        let masks = if let Some((_, masks)) = made {
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

    /// Attention of the pass's rows; on backend `B` under autodiff as one node.
    ///
    /// # Shapes
    ///
    /// As of [`crate::Attend`].
    pub(crate) fn attend<B: Backend>(
        &mut self,
        shape: &AttentionShape,
        [q, k, v]: [&Tensor<2>; 3],
    ) -> Option<Tensor<2>>
    where
        DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
    {
        let inputs = tracked::<B, 3>([q, k, v])?;
        let layer = self.layer(shape);
        let values = inputs.each_ref().map(value::<B, 2>);
        let (output, log_sums) = layer.forward(values.each_ref());
        Some(record::<B, _, 3, 2>(inputs, Kept { layer, inputs: values, log_sums }, output))
    }

    /// The same in burn operations, also where they are recorded.
    pub(crate) fn plain(&mut self, shape: &AttentionShape, inputs: [&Tensor<2>; 3]) -> Tensor<2> {
        self.layer(shape).forward(inputs).0
    }
}

#[derive(Clone, Debug)]
struct PaddedLayer {
    layout: Arc<Layout>,
    masks: Masks,
    heads: Heads,
    scale: f32,
}

impl PaddedLayer {
    /// The output, `[r, h · d]`, and the logarithms of the sums of each block, `[n, k, g · m, 1]`.
    fn forward(&self, inputs: [&Tensor<2>; 3]) -> (Tensor<2>, Vec<Tensor<4>>) {
        let Self { layout, heads, .. } = self;
        let [q, k, v] = inputs.map(|x| layout.padded(x));
        let (mut outputs, mut log_sums) = (Vec::new(), Vec::new());
        let mut masks = self.masks.iter();
        let mut mix = |block: &Block, k: Tensor<4>, v: Tensor<4>| {
            let mask = masks.next().expect("one a block");
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
                    .map(|(prompts, x)| Heads::seen(prompts, heads.keys(x, block)));
                mix(block, k, v);
            }
        }
        (layout.unpadded(outputs), log_sums)
    }
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
struct Kept {
    layer: PaddedLayer,
    inputs: [Tensor<2>; 3],
    log_sums: Vec<Tensor<4>>,
}

impl Kept {
    /// The gradients of the three inputs for that of the output.
    fn gradients(&self, grad: &Tensor<2>) -> [Tensor<2>; 3] {
        let PaddedLayer { layout, masks, heads, .. } = &self.layer;
        let [q, k, v] = self.inputs.each_ref().map(|x| layout.padded(x));
        let grad = layout.padded(grad) * layout.is_row.clone().cast(grad.dtype());
        let mut grads: [Vec<Tensor<2>>; 3] = Default::default();
        let mut blocks = masks.iter().zip(&self.log_sums);
        for Bucket { prompts, continuations } in &layout.buckets {
            let [prompt_k, prompt_v] = [&k, &v].map(|x| heads.keys(x, prompts));
            let mut of_block = |block: &Block, k: Tensor<4>, v: Tensor<4>| {
                let (mask, log_sums) = blocks.next().expect("one a block");
                let (q, grad) = (heads.queries(&q, block), heads.queries(&grad, block));
                let [dq, dk, dv] = self.block_gradients([q, k, v], &grad, mask, log_sums);
                (heads.joined(dq, block), [dk, dv])
            };
            let (dq, mut of_prompts) = of_block(prompts, prompt_k.clone(), prompt_v.clone());
            let mut of_bucket = [vec![dq], Vec::new(), Vec::new()];
            for block in continuations {
                let [k, v] = [(&prompt_k, &k), (&prompt_v, &v)]
                    .map(|(prompts, x)| Heads::seen(prompts, heads.keys(x, block)));
                let (dq, of_seen) = of_block(block, k, v);
                of_bucket[0].push(dq);
                let (families, len) = (prompts.sequences, prompts.len);
                for ((sum, grad), places) in
                    of_prompts.iter_mut().zip(of_seen).zip(&mut of_bucket[1..])
                {
                    let [of_prompts, own] = Heads::seen_gradients(grad, families, len);
                    *sum = sum.clone() + of_prompts;
                    places.push(heads.joined(own, block));
                }
            }
            for (places, grad) in of_bucket[1..].iter_mut().zip(of_prompts) {
                places.insert(0, heads.joined(grad, prompts));
            }
            grads.iter_mut().zip(of_bucket).for_each(|(all, more)| all.extend(more));
        }
        grads.map(|parts| layout.unpadded(parts))
    }

    /// The gradients of a block's queries, of the keys it sees and of their values.
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

impl<B: Backend> Gradient<B, 3> for Kept
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
    use burn_flex::Flex;

    use super::*;
    use crate::attention::{CausalMasks, Segment, SegmentAttention, causal_attention};
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

    /// A sequence at a time, in operations that burn differentiates.
    fn one_by_one(shape: &AttentionShape, [q, k, v]: [&Tensor<2>; 3]) -> Tensor<2> {
        let attention = SegmentAttention::new(segments());
        let mut masks = CausalMasks::default();
        let parts = attention.segments().iter().enumerate().map(|(number, segment)| {
            let rows = |x: &Tensor<2>, number: usize| {
                x.clone().narrow(
                    0,
                    attention.first_rows()[number],
                    attention.segments()[number].len,
                )
            };
            let seen = |x: &Tensor<2>| match segment.parent {
                Some(parent) => Tensor::cat(vec![rows(x, parent), rows(x, number)], 0),
                None => rows(x, number),
            };
            causal_attention(shape, &mut masks, rows(q, number), seen(k), seen(v))
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// What comes out, and the gradients of queries, keys and values.
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
    fn blocks_give_the_values_and_gradients_of_sequences_one_by_one() {
        let rows = segments().iter().map(|segment| segment.len).sum();
        let normal = Distribution::Normal(0.0, 1.0);
        let device = Device::flex();
        let inputs =
            [24, 12, 12, 24].map(|cols| Tensor::<2>::random([rows, cols], normal, &device));
        let families = SegmentAttention::new(segments()).families();
        for window in [None, Some(4)] {
            let shape = AttentionShape { window, ..SHAPE };
            let expected = run(|inputs| one_by_one(&shape, inputs), &inputs);
            for (at_once, blocks) in [(WEIGHTS_AT_ONCE, 5), (200, 7)] {
                let layout = Layout::new(families.clone(), SHAPE.num_heads, at_once, &device);
                let made = layout.buckets.iter().flat_map(Bucket::blocks).count();
                assert_eq!(made, blocks, "{at_once}");
                let padded = PaddedAttention { layout: Arc::new(layout), masks: Vec::new() };
                let node = run(
                    |inputs| padded.clone().attend::<Flex>(&shape, inputs).expect("under autodiff"),
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
