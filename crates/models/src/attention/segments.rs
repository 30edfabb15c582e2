//! Attention of a training pass.

use burn::tensor::Tensor;

use super::cpu;
use super::padded::PaddedAttention;
use super::segment::{PromptGroup, RowSpan, Segment};
use super::shape::{Attend, AttentionShape};
use crate::kernels::LANES;

/// Attention without a cache: every sequence is whole in the pass, as in training. The rollouts of a
/// group share the rows of their prompt, which receives gradients from all of them.
#[derive(Clone, Debug)]
pub struct SegmentAttention {
    segments: Vec<Segment>,
    first_rows: Vec<usize>,
    /// The blocks of devices without CPU kernels, laid out by the first layer.
    padded: Option<PaddedAttention>,
}

impl SegmentAttention {
    /// Creates attention for a pass whose rows are `segments`, in this order.
    ///
    /// # Panics
    ///
    /// If a parent is not an earlier segment without parent.
    pub fn new(segments: Vec<Segment>) -> Self {
        for (index, segment) in segments.iter().enumerate() {
            let parent_is_root =
                |parent: usize| parent < index && segments[parent].parent.is_none();
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

    /// Creates attention for whole sequences of these lengths.
    pub fn sequences(lengths: impl IntoIterator<Item = usize>) -> Self {
        Self::new(lengths.into_iter().map(|len| Segment { len, parent: None }).collect())
    }

    /// Returns the position of every row in its sequence.
    pub fn positions(&self) -> Vec<u32> {
        let position = |x: usize| u32::try_from(x).expect("sequences are shorter");
        let rows = self.segments.iter().flat_map(|segment| {
            let before = segment.parent.map_or(0, |parent| self.segments[parent].len);
            (before..before + segment.len).map(position)
        });
        rows.collect()
    }

    /// Returns the segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the first row of each segment.
    pub fn first_rows(&self) -> &[usize] {
        &self.first_rows
    }

    fn row_span(&self, segment: usize) -> RowSpan {
        RowSpan { first_row: self.first_rows[segment], len: self.segments[segment].len }
    }

    /// Returns the segments without parent, each with its continuations.
    pub(crate) fn prompt_groups(&self) -> Vec<PromptGroup> {
        let mut group_of = vec![0; self.segments.len()];
        let mut groups: Vec<PromptGroup> = Vec::new();
        for (index, segment) in self.segments.iter().enumerate() {
            let rows = self.row_span(index);
            match segment.parent {
                Some(parent) => groups[group_of[parent]].continuations.push(rows),
                None => {
                    group_of[index] = groups.len();
                    groups.push(PromptGroup { prompt: rows, continuations: Vec::new() });
                }
            }
        }
        groups
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
        if shape.head_dim.is_multiple_of(LANES) {
            let groups = || self.prompt_groups();
            let (segments, first_rows) = (&self.segments, &self.first_rows);
            if let Some(mixed) = cpu::attend(segments, first_rows, groups, shape, [q, k, v]) {
                return mixed;
            }
        }
        let mut padded = self.padded.take().unwrap_or_else(|| {
            PaddedAttention::new(self.prompt_groups(), shape, &q.device().inner())
        });
        let mixed = padded.attend(shape, [q, k, v]);
        self.padded = Some(padded);
        mixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention() -> SegmentAttention {
        let root = |len| Segment { len, parent: None };
        let after = |parent, len| Segment { len, parent: Some(parent) };
        SegmentAttention::new(vec![root(2), root(3), after(0, 1), after(1, 2), after(0, 2)])
    }

    #[test]
    fn continuations_are_positioned_after_their_prompt() {
        assert_eq!(attention().positions(), [0, 1, 0, 1, 2, 2, 3, 4, 2, 3]);
    }

    #[test]
    fn continuations_join_the_group_of_their_prompt() {
        let groups = attention().prompt_groups();
        let rows = |first_row, len| RowSpan { first_row, len };
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].prompt, rows(0, 2));
        assert_eq!(groups[0].continuations, [rows(5, 1), rows(8, 2)]);
        assert_eq!(groups[1].continuations, [rows(6, 2)]);
    }

    #[test]
    #[should_panic(expected = "the parent is an earlier root")]
    fn a_continuation_can_not_be_continued() {
        let after = |parent| Segment { len: 1, parent };
        SegmentAttention::new(vec![after(None), after(Some(0)), after(Some(1))]);
    }
}
