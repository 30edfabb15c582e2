//! The seam between a decoder and whatever keeps its keys and values.
//!
//! A forward pass sees rows: tokens of any number of sequences, packed. Everything but attention
//! works row by row; attention asks an [`Attend`], which knows the rows' sequences. [`PlainAttention`]
//! has no memory and is written in burn operations (training, reference); [`KvCache`]s remember.

use burn::tensor::{Tensor, TensorData, activation};

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

/// Causal attention of one sequence in burn operations: rows are the last ones of `k` and `v`.
///
/// # Shapes
///
/// `q` `[r, heads · d]`, `k` and `v` `[keys, kv_heads · d]` to `[r, heads · d]`.
pub fn causal_attention(
    shape: &AttentionShape,
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
    let mut mask = vec![0.0_f32; rows * keys];
    for row in 0..rows {
        let end = keys - rows + row + 1;
        let start = window.map_or(0, |window| end.saturating_sub(window));
        mask[row * keys..][..start].fill(f32::NEG_INFINITY);
        mask[row * keys + end..(row + 1) * keys].fill(f32::NEG_INFINITY);
    }
    let mask: Tensor<3> = Tensor::from_data(TensorData::new(mask, [1, rows, keys]), &device);
    let mask = mask.cast(q.dtype());
    let scores = heads(q, rows, num_heads).matmul(shared(k).swap_dims(1, 2)) * scale + mask;
    let mixed = activation::softmax(scores, 2).matmul(shared(v));
    mixed.swap_dims(0, 1).reshape([rows, num_heads * head_dim])
}

/// Attention without memory: every sequence of the pass starts at its first token.
#[derive(Clone, Debug)]
pub struct PlainAttention {
    /// Lengths of the sequences, in the order of the rows.
    pub lengths: Vec<usize>,
}

impl Attend for PlainAttention {
    fn attend(
        &mut self,
        _layer: usize,
        shape: &AttentionShape,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
    ) -> Tensor<2> {
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.lengths.len());
        for len in &self.lengths {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, first, *len);
            parts.push(causal_attention(shape, rows(q), rows(k), rows(v)));
            first += len;
        }
        Tensor::cat(parts, 0)
    }
}
