//! The seam between a decoder and whatever keeps its keys and values.
//!
//! A forward pass sees rows: tokens of any number of sequences, packed. Everything but attention
//! works row by row; attention asks an [`Attend`], which knows the rows' sequences.
//! [`SegmentAttention`] has no memory (training, reference); [`KvCache`]s remember.

use burn::tensor::{Tensor, TensorData, activation};

use crate::device;
use crate::gradients;
use crate::kernels::{self, Family, Part};
use crate::ops;
use crate::padded_attention::PaddedAttention;

/// The numbers that shape a layer's attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// How many keys back a token sees, its own included; none: all.
    pub window: Option<usize>,
}

/// Attends for one forward pass.
pub trait Attend {
    /// Attention of the pass's rows in layer `layer`.
    ///
    /// # Shapes
    ///
    /// `q` is `[r, num_heads · head_dim]`, `k` and `v` are `[r, num_kv_heads · head_dim]`, with the
    /// rotary embedding applied; the result has the shape of `q`.
    fn attend(
        &mut self,
        layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2>;
}

/// Names a sequence of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceId(pub(crate) usize);

/// Consecutive new tokens of one sequence: the next rows of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which sequence they continue.
    pub sequence: SequenceId,
    /// How many there are.
    pub len: usize,
}

/// Remembers keys and values. A pass is [`Self::begin`], the layers' [`Attend::attend`] from 0 up,
/// [`Self::commit`].
pub trait KvCache: Attend {
    /// A new sequence; with a parent, it continues from what the parent holds now and shares it.
    /// The parent must not grow afterwards and must not be closed before its children.
    fn open(&mut self, parent: Option<SequenceId>) -> SequenceId;

    /// Forgets a sequence.
    fn close(&mut self, sequence: SequenceId);

    /// Number of tokens of a sequence, the parent's included.
    fn len(&self, sequence: SequenceId) -> usize;

    /// Says which rows come next.
    fn begin(&mut self, spans: &[Span]);

    /// Counts the rows in, after the last layer.
    fn commit(&mut self);
}

/// What is added to scores so that a row sees its own key and those before it, for every number of
/// rows, number of keys and window that a pass has, made once.
#[derive(Clone, Debug, Default)]
pub(crate) struct CausalMasks {
    made: Vec<(MaskShape, Tensor<3>)>,
}

/// Rows, keys, window.
type MaskShape = (usize, usize, Option<usize>);

impl CausalMasks {
    /// `[1, rows, keys]` in single precision: 0 where a key is seen, minus infinity elsewhere.
    fn get(&mut self, (rows, keys, window): MaskShape, device: &burn::tensor::Device) -> Tensor<3> {
        let wanted = (rows, keys, window);
        if let Some((_, mask)) = self.made.iter().find(|(made, _)| *made == wanted) {
            return mask.clone();
        }
        let mut mask = vec![0.0_f32; rows * keys];
        for row in 0..rows {
            let end = keys - rows + row + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            mask[row * keys..][..start].fill(f32::NEG_INFINITY);
            mask[row * keys + end..(row + 1) * keys].fill(f32::NEG_INFINITY);
        }
        let mask = Tensor::from_data(TensorData::new(mask, [1, rows, keys]), device);
        self.made.push((wanted, mask.clone()));
        mask
    }
}

/// Causal attention of one sequence in burn operations: rows are the last ones of `k` and `v`.
///
/// # Shapes
///
/// `q` `[r, heads · d]`, `k` and `v` `[keys, kv_heads · d]` to `[r, heads · d]`.
pub(crate) fn causal_attention(
    shape: &AttentionShape,
    masks: &mut CausalMasks,
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
) -> Tensor<2> {
    let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = *shape;
    let ([rows, _], [keys, _]) = (q.dims(), k.dims());
    let device = q.device();
    let heads =
        |x: Tensor<2>, len: usize, count: usize| x.reshape([len, count, head_dim]).swap_dims(0, 1);
    let shared = |x: Tensor<2>| {
        let x: Tensor<4> = heads(x, keys, num_kv_heads).unsqueeze_dim(1);
        let x = x.expand([num_kv_heads, num_heads / num_kv_heads, keys, head_dim]);
        x.reshape([num_heads, keys, head_dim])
    };
    let format = q.dtype();
    let products = heads(q, rows, num_heads).matmul(shared(k).swap_dims(1, 2));
    let scores = ops::widened(products) * scale;
    let mask = masks.get((rows, keys, window), &device).cast(scores.dtype());
    let mixed = activation::softmax(scores + mask, 2).cast(format).matmul(shared(v));
    mixed.swap_dims(0, 1).reshape([rows, num_heads * head_dim])
}

/// Consecutive rows of a pass: a whole sequence, or what continues one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Number of rows.
    pub len: usize,
    /// The segment whose rows come before these in the sequence: an earlier one without parent.
    pub parent: Option<usize>,
}

/// Attention without memory: every sequence is whole in the pass, as in training. The rollouts of a
/// group share the rows of their prompt, and gradients flow into it from all of them.
#[derive(Clone, Debug)]
pub struct SegmentAttention {
    segments: Vec<Segment>,
    first_rows: Vec<usize>,
    /// Of devices without kernels of ours, from the first layer on.
    padded: Option<PaddedAttention>,
}

impl SegmentAttention {
    /// For a pass whose rows are `segments`, in this order.
    ///
    /// # Panics
    ///
    /// If a parent is not an earlier segment without parent.
    pub fn new(segments: Vec<Segment>) -> Self {
        for (number, segment) in segments.iter().enumerate() {
            let parent_is_root =
                |parent: usize| parent < number && segments[parent].parent.is_none();
            assert!(segment.parent.is_none_or(parent_is_root), "the parent is an earlier root");
        }
        let first_rows = segments
            .iter()
            .scan(0, |next, segment| {
                *next += segment.len;
                Some(*next - segment.len)
            })
            .collect();
        Self { segments, first_rows, padded: None }
    }

    /// Whole sequences of these lengths.
    pub fn sequences(lengths: impl IntoIterator<Item = usize>) -> Self {
        Self::new(lengths.into_iter().map(|len| Segment { len, parent: None }).collect())
    }

    /// The position in its sequence of every row.
    pub fn positions(&self) -> Vec<u32> {
        let position = |x: usize| u32::try_from(x).expect("sequences are shorter");
        let rows = self.segments.iter().flat_map(|segment| {
            let before = segment.parent.map_or(0, |parent| self.segments[parent].len);
            (before..before + segment.len).map(position)
        });
        rows.collect()
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The first row of each segment.
    pub fn first_rows(&self) -> &[usize] {
        &self.first_rows
    }

    fn part(&self, segment: usize) -> Part {
        Part { first_row: self.first_rows[segment], len: self.segments[segment].len }
    }

    /// Roots with what continues them.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut places = vec![0; self.segments.len()];
        let mut families: Vec<Family> = Vec::new();
        for (number, segment) in self.segments.iter().enumerate() {
            match segment.parent {
                Some(parent) => families[places[parent]].continuations.push(self.part(number)),
                None => {
                    places[number] = families.len();
                    let prompt = self.part(number);
                    families.push(Family { prompt, continuations: Vec::new() });
                }
            }
        }
        families
    }
}

impl Attend for SegmentAttention {
    fn attend(
        &mut self,
        _layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        if shape.head_dim.is_multiple_of(kernels::LANES) {
            if [q, k, v].into_iter().all(|x| ops::on_cpu(x).is_some()) {
                return self.forward_on_cpu(shape, q, k, v);
            }
            if let Some(mixed) = gradients::attend(self, shape, [q, k, v]) {
                return mixed;
            }
        }
        let mut padded = self
            .padded
            .take()
            .unwrap_or_else(|| PaddedAttention::new(self.families(), shape, &q.device().inner()));
        let mixed = device::attend(&mut padded, shape, [q, k, v])
            .unwrap_or_else(|| padded.plain(shape, [q, k, v]));
        self.padded = Some(padded);
        mixed
    }
}
