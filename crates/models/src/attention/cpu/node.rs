//! Attention of a training pass on the CPU.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::backward::{AttentionGradients, AttentionInputs, HeadGroup, attend_backward};
use super::head_store::HeadStore;
use super::spans::attend_spans;
use crate::attention::segment::{PromptGroup, Segment};
use crate::attention::shape::AttentionShape;
use crate::kernels::{Isa, RowsMut, RowsRef, for_each_task};
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{both, dense, from_vec, on_cpu, primitive, rows};

/// Attends with the rows of segments on the CPU; under autodiff, as one node.
///
/// The values are bit-identical to those of [`crate::CpuKvCache`].
pub(crate) fn attend(
    segments: &[Segment],
    first_rows: &[usize],
    groups: impl Fn() -> Vec<PromptGroup>,
    shape: &AttentionShape,
    [q, k, v]: [&Tensor<2>; 3],
) -> Option<Tensor<2>> {
    if let (Some(q), Some(k), Some(v)) = (on_cpu(q), on_cpu(k), on_cpu(v)) {
        let inputs = [q, k, v].map(dense);
        return Some(forward(segments, first_rows, shape, inputs.each_ref().map(rows)));
    }
    let [first, second] = both(q, k)?;
    let inputs = [first, second, both(q, v)?[1].clone()];
    let values = inputs.each_ref().map(|input| dense(input.primitive().clone()));
    let output = forward(segments, first_rows, shape, values.each_ref().map(rows));
    let state = BackwardState { groups: groups(), shape: *shape, inputs: values };
    Some(record(inputs, state, output))
}

fn forward(
    segments: &[Segment],
    first_rows: &[usize],
    shape: &AttentionShape,
    [q, k, v]: [RowsRef<'_>; 3],
) -> Tensor<2> {
    let stores: Vec<Vec<HeadStore>> = segments
        .iter()
        .zip(first_rows)
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
    let before = |segment: &Segment| segment.parent.map_or(0, |parent| segments[parent].len);
    let spans: Vec<_> = segments.iter().map(|s| (s.len, before(s))).collect();
    attend_spans(shape, q, &spans, |index, head| {
        let sequence = segments[index].parent.into_iter().chain([index]);
        sequence.map(|s| stores[s][head].run(segments[s].len)).collect()
    })
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    groups: Vec<PromptGroup>,
    shape: AttentionShape,
    inputs: [FlexTensor; 3],
}
impl Gradient<Flex, 3> for BackwardState {
    fn backward(self, grad: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let grad = dense(grad);
        let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = self.shape;
        let [q, k, v] = self.inputs.each_ref().map(rows);
        let inputs = AttentionInputs { q, k, v, grad: rows(&grad) };
        let tasks = self.groups.len() * num_kv_heads;
        let mut grads = [q, k, v].map(|x| vec![0.0_f32; x.rows() * x.cols()]);
        let [q_grad, k_grad, v_grad] = &mut grads;
        let gradients = AttentionGradients {
            q: RowsMut::new(q_grad, q.cols()),
            k: RowsMut::new(k_grad, k.cols()),
            v: RowsMut::new(v_grad, v.cols()),
        };
        for_each_task(tasks, true, |task| {
            let (prompts, kv_head) = (&self.groups[task / num_kv_heads], task % num_kv_heads);
            let heads = num_heads / num_kv_heads;
            let group = HeadGroup { kv_head, heads, head_dim, scale, window };
            attend_backward(Isa::best(), prompts, group, inputs, gradients);
        });
        let widths = [q.cols(), k.cols(), v.cols()];
        let tensors = grads.into_iter().zip(widths).map(|(grad, width)| {
            let shape = [grad.len() / width, width];
            Some(primitive(&from_vec(grad, shape, 0)))
        });
        let tensors: Vec<_> = tensors.collect();
        tensors.try_into().expect("three of them")
    }
}
