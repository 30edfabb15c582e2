//! Rows of a pass in padded blocks.
//!
//! Prompts of similar length are in one block and their continuations in others; every sequence is padded
//! to the longest of its block.
//!
//! Shapes: `r` rows of the pass, `p` rows with padding, `n` sequences of a block, `m` rows of each, `s` keys
//! that each may attend to.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::segment::{PromptGroup, RowSpan};
use crate::ops::indices;

/// The number of attention weights that are held at once: half a gigabyte. A group's prompt, and one
/// continuation of each group, are a block at least.
pub(crate) const WEIGHTS_AT_ONCE: usize = 1 << 27;

/// A position after all others: no row attends to a key there.
const NOWHERE: f32 = 1e9;

/// Sequences of one padded length.
#[derive(Clone, Debug)]
pub(crate) struct PaddedBlock {
    /// Its rows among the rows with padding.
    pub(crate) rows: Range<usize>,
    /// Sequences, `n`.
    pub(crate) sequences: usize,
    /// Rows of each, `m`.
    pub(crate) len: usize,
    /// The position of each row, `[n, m, 1]`.
    row_positions: Tensor<3>,
    /// The position of each key, `[n, 1, s]`.
    key_positions: Tensor<3>,
}

impl PaddedBlock {
    /// Returns the mask, `[n, m, s]`: 0 for visible keys, minus infinity for others.
    pub(crate) fn mask(&self, window: Option<usize>) -> Tensor<3> {
        let behind = self.row_positions.clone() - self.key_positions.clone();
        let hidden = behind.clone().lower_elem(0.0);
        let hidden = match window {
            Some(window) => hidden.bool_or(behind.clone().greater_equal_elem(window as f32)),
            None => hidden,
        };
        behind.zeros_like().mask_fill(hidden, f32::NEG_INFINITY)
    }
}

/// Groups whose prompts are a block.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) prompts: PaddedBlock,
    /// Blocks of continuations, each with equally many of every group, group after group.
    pub(crate) continuations: Vec<PaddedBlock>,
}

impl Bucket {
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &PaddedBlock> {
        std::iter::once(&self.prompts).chain(&self.continuations)
    }
}

/// The rows of a pass with padding.
#[derive(Clone, Debug)]
pub(crate) struct PaddedLayout {
    pub(crate) buckets: Vec<Bucket>,
    /// The row at each index, `p`; row 0 for padding.
    rows: Tensor<1, Int>,
    /// 1 for rows, 0 for padding, `[p, 1]`.
    pub(crate) is_row: Tensor<2>,
    /// The index of each row, `r`.
    row_indices: Tensor<1, Int>,
}

/// Lays out rows block by block.
struct Padding<'a> {
    device: &'a Device,
    rows: Vec<Option<usize>>,
}

impl Padding<'_> {
    /// Adds a block of row spans, each with the length of its prompt, padded to the longest. `before` keys
    /// of prompts come before its own.
    fn block(&mut self, spans: &[(Option<RowSpan>, usize)], before: usize) -> PaddedBlock {
        let first = self.rows.len();
        let span_len = |span: &Option<RowSpan>| span.as_ref().map_or(0, |span| span.len);
        let len = spans.iter().map(|(span, _)| span_len(span)).max().unwrap_or(0);
        let (mut row_positions, mut key_positions) = (Vec::new(), Vec::new());
        for (span, prompt_len) in spans {
            let (rows, padding) = (span_len(span), len - span_len(span));
            let first_row = span.as_ref().map_or(0, |span| span.first_row);
            self.rows.extend((first_row..first_row + rows).map(Some));
            self.rows.extend(std::iter::repeat_n(None, padding));
            let positions = (*prompt_len..prompt_len + rows).map(|position| position as f32);
            // Padding is at position 0, so that it has a visible key.
            row_positions.extend(positions.clone().chain(std::iter::repeat_n(0.0, padding)));
            key_positions.extend((0..*prompt_len).map(|position| position as f32));
            key_positions.extend(std::iter::repeat_n(NOWHERE, before - prompt_len));
            key_positions.extend(positions.chain(std::iter::repeat_n(NOWHERE, padding)));
        }
        let tensor = |positions: Vec<f32>, shape: [usize; 3]| {
            Tensor::from_data(TensorData::new(positions, shape), self.device)
        };
        let sequences = spans.len();
        PaddedBlock {
            rows: first..self.rows.len(),
            sequences,
            len,
            row_positions: tensor(row_positions, [sequences, len, 1]),
            key_positions: tensor(key_positions, [sequences, 1, before + len]),
        }
    }
}

impl PaddedLayout {
    /// Lays out groups. A row has `num_heads` weights for each key, of which `at_once` are held at once.
    pub(crate) fn new(
        mut groups: Vec<PromptGroup>,
        num_heads: usize,
        at_once: usize,
        device: &Device,
    ) -> Self {
        groups.retain(|group| group.prompt.len > 0);
        groups.sort_by_key(|group| group.prompt.len);
        for group in &mut groups {
            group.continuations.retain(|span| span.len > 0);
            group.continuations.sort_by_key(|part| std::cmp::Reverse(part.len));
        }
        let mut padding = Padding { device, rows: Vec::new() };
        let mut buckets = Vec::new();
        let mut rest = groups.as_slice();
        while let Some(first) = rest.first() {
            // Prompts up to twice as long as the shortest, as many as there is room for.
            let bound = (2 * first.prompt.len).max(64);
            let fits = |(index, group): &(usize, &PromptGroup)| {
                let len = group.prompt.len;
                len <= bound && num_heads * (index + 1) * len * len <= at_once
            };
            let count = rest.iter().enumerate().take_while(fits).count().max(1);
            let groups;
            (groups, rest) = rest.split_at(count);
            buckets.push(Self::bucket(groups, num_heads, at_once, &mut padding));
        }
        let num_rows = padding.rows.iter().flatten().count();
        let mut row_indices = vec![0; num_rows];
        for (index, row) in padding.rows.iter().enumerate() {
            if let Some(row) = row {
                row_indices[*row] = index;
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
            row_indices: indices(&row_indices, device),
        }
    }

    fn bucket(
        groups: &[PromptGroup],
        num_heads: usize,
        at_once: usize,
        padding: &mut Padding<'_>,
    ) -> Bucket {
        let prompts: Vec<_> = groups.iter().map(|group| (Some(group.prompt), 0)).collect();
        let prompts = padding.block(&prompts, 0);
        let most = groups.iter().map(|group| group.continuations.len()).max().unwrap_or(0);
        let longest = |index: usize| {
            let lengths = groups.iter().filter_map(|group| group.continuations.get(index));
            lengths.map(|span| span.len).max().unwrap_or(0)
        };
        let mut continuations = Vec::new();
        let mut first = 0;
        while first < most {
            // They are sorted: the first one of a block is the longest.
            let len = longest(first);
            let one = num_heads * groups.len() * len * (prompts.len + len);
            let count = (at_once / one.max(1)).clamp(1, most - first);
            // Shorter than half the longest ones: another block.
            let count = (1..count).find(|n| 2 * longest(first + n) < len).unwrap_or(count);
            let spans: Vec<_> = groups
                .iter()
                .flat_map(|group| {
                    (first..first + count)
                        .map(|index| (group.continuations.get(index).copied(), group.prompt.len))
                })
                .collect();
            continuations.push(padding.block(&spans, prompts.len));
            first += count;
        }
        Bucket { prompts, continuations }
    }

    /// Adds the padding, `[r, ..]` to `[p, ..]`.
    pub(crate) fn padded(&self, x: &Tensor<2>) -> Tensor<2> {
        x.clone().select(0, self.rows.clone())
    }

    /// Joins the blocks and removes the padding, `[p, ..]` to `[r, ..]`.
    pub(crate) fn unpadded(&self, blocks: Vec<Tensor<2>>) -> Tensor<2> {
        Tensor::cat(blocks, 0).select(0, self.row_indices.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::to_vec;

    fn rows(first_row: usize, len: usize) -> RowSpan {
        RowSpan { first_row, len }
    }

    #[test]
    fn continuations_are_padded_to_the_longest_and_unpadded_again() {
        let device = Device::flex();
        let groups = vec![
            PromptGroup { prompt: rows(0, 2), continuations: vec![rows(2, 1), rows(3, 2)] },
            PromptGroup { prompt: rows(5, 1), continuations: vec![rows(6, 2)] },
        ];
        let layout = PaddedLayout::new(groups, 1, WEIGHTS_AT_ONCE, &device);
        let blocks: Vec<_> = layout.buckets.iter().flat_map(Bucket::blocks).collect();
        let shapes: Vec<_> = blocks.iter().map(|block| (block.sequences, block.len)).collect();
        assert_eq!(shapes, [(2, 2), (4, 2)], "prompts, then two continuations of each group");
        let x = Tensor::<1>::from_data([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &device);
        let padded = layout.padded(&x.clone().reshape([8, 1]));
        assert_eq!(padded.dims()[0], 12);
        assert_eq!(to_vec(layout.is_row.clone()).iter().sum::<f32>(), 8.0);
        assert_eq!(to_vec(layout.unpadded(vec![padded])), to_vec(x));
    }

    #[test]
    fn a_window_hides_older_keys_and_padding_hides_all() {
        let device = Device::flex();
        let groups = vec![PromptGroup { prompt: rows(0, 3), continuations: Vec::new() }];
        let layout = PaddedLayout::new(groups, 1, WEIGHTS_AT_ONCE, &device);
        let mask = layout.buckets[0].prompts.mask(Some(2));
        let visible: Vec<bool> = to_vec(mask).iter().map(|value| *value == 0.0).collect();
        let expected = [true, false, false, true, true, false, false, true, true];
        assert_eq!(visible, expected);
    }
}
