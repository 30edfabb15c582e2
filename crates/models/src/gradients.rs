//! The operations of [`crate::ops`] as nodes of burn's autodiff graph on the CPU: the kernels of the
//! forward pass as they are, and kernels of ours for the backward pass.
//!
//! A function gives `None` where no input is under autodiff on the CPU in single precision; the
//! operation is then written with burn's. Inputs outside of autodiff are constants. ([`linear`] takes
//! two of them too, so that a weight gives the same numbers with and without a graph.)

use std::sync::Arc;

use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor};

use crate::attention::{AttentionShape, SegmentAttention};
use crate::kernels::{
    self, Activation, AttentionGradients, AttentionInputs, HeadGroup, Isa, LogSumExp, Packed,
    RowsMut, RowsRef,
};
use crate::ops::{self, Linear, RopeAngles, filled_rows, from_vec, on_cpu, panels_view, rows_of};
use crate::recorded::{self, Gradient, record};
use crate::targets::Targets;

/// A tensor in the autodiff graph.
type Tracked = recorded::Tracked<Flex>;

fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<Tracked> {
    let tracked = tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    (tracked.dtype() == DType::F32).then_some(tracked)
}

/// Both tensors in the graph, if one of them is.
fn both<const A: usize, const B: usize>(a: &Tensor<A>, b: &Tensor<B>) -> Option<[Tracked; 2]> {
    match (tracked(a), tracked(b)) {
        (None, None) => None,
        (a_tracked, b_tracked) => Some([
            a_tracked.or_else(|| tracked(&a.clone().autodiff()))?,
            b_tracked.or_else(|| tracked(&b.clone().autodiff()))?,
        ]),
    }
}

/// The value of a tracked tensor, outside of the graph.
fn value<const D: usize>(tracked: &Tracked) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(tracked.primitive().clone())
}

fn primitive<const D: usize>(tensor: &Tensor<D>) -> FlexTensor {
    on_cpu(tensor).expect("kernels give CPU tensors in single precision")
}

/// The same numbers in rows whose last dimension is dense.
fn dense(flex: FlexTensor) -> FlexTensor {
    let fine = match flex.layout().shape().num_dims() {
        2 => rows_of(&flex).is_some(),
        _ => flex.is_contiguous(),
    };
    if fine { flex } else { flex.to_contiguous() }
}

fn rows(flex: &FlexTensor) -> RowsRef<'_> {
    rows_of(flex).expect("made dense")
}

fn numbers(flex: &FlexTensor) -> &[f32] {
    let len = flex.layout().shape().num_elements();
    &flex.storage::<f32>()[flex.layout().start_offset()..][..len]
}

fn vector(data: Vec<f32>) -> FlexTensor {
    let len = data.len();
    primitive(&from_vec(data, [len], 0))
}

/// `a · bᵀ`, where `b` is packed: `[m, k]` and `[n, k]` to `[m, n]`.
fn product(a: RowsRef<'_>, packed: &Packed) -> Tensor<2> {
    from_vec(packed.times(a), [a.rows(), packed.outputs()], 0)
}

/// `Σ_r grad[r][out] · x[r][in]`, the gradient of a weight `[out, in]`.
fn weight_gradient(grad: RowsRef<'_>, x: RowsRef<'_>) -> FlexTensor {
    let transposed = kernels::transpose(grad);
    let a = RowsRef::new(&transposed, grad.cols(), grad.rows(), grad.rows());
    primitive(&product(a, &Packed::columns(x)))
}

/// `x · Wᵀ` for a weight `[out, in]` outside of packed storage.
pub(crate) fn linear(x: &Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        x: FlexTensor,
        weight: FlexTensor,
    }
    impl Gradient<Flex, 2> for State {
        fn backward(self, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
            let grad = dense(grad);
            let (x, weight, grad) = (rows(&self.x), rows(&self.weight), rows(&grad));
            [
                wanted[0].then(|| primitive(&product(grad, &Packed::columns(weight)))),
                wanted[1].then(|| weight_gradient(grad, x)),
            ]
        }
    }
    let [out, inner] = weight.dims();
    let times = |x: &FlexTensor, weight: &FlexTensor| {
        product(rows(x), &Packed::rows(numbers(weight), out, inner))
    };
    if let (Some(x), Some(weight)) = (on_cpu(x), on_cpu(weight)) {
        return Some(times(&dense(x), &weight.to_contiguous()));
    }
    let inputs = both(x, weight)?;
    let x = dense(inputs[0].primitive().clone());
    let weight = inputs[1].primitive().to_contiguous();
    let output = times(&x, &weight);
    Some(record(inputs, State { x, weight }, output))
}

/// `x · Wᵀ` for a packed, frozen weight.
pub(crate) fn frozen_linear(x: &Tensor<2>, panels: &Tensor<3>, out: usize) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        panels: FlexTensor,
        out: usize,
        inner: usize,
    }
    impl Gradient<Flex, 1> for State {
        fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            let grad = dense(grad);
            let panels = panels_view(&self.panels, self.out, self.inner);
            [Some(primitive(&product(rows(&grad), &Packed::transposed(panels))))]
        }
    }
    let input = tracked(x)?;
    let output = Linear::from_panels(panels.clone(), out).forward(&value(&input));
    let state = State { panels: primitive(panels), out, inner: panels.dims()[1] };
    Some(record([input], state, output))
}

/// [`ops::rms_norm`].
pub(crate) fn rms_norm(x: &Tensor<2>, weight: &Tensor<1>, eps: f64) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        x: FlexTensor,
        weight: FlexTensor,
        eps: f32,
    }
    impl Gradient<Flex, 2> for State {
        fn backward(self, grad: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
            let grad = dense(grad);
            let (x, weight) = (rows(&self.x), numbers(&self.weight));
            let mut weight_grad = Vec::new();
            let x_grad = filled_rows(x.rows(), x.cols(), |out| {
                let grad = rows(&grad);
                weight_grad =
                    kernels::rms_norm_backward(Isa::best(), x, weight, self.eps, grad, out);
            });
            [Some(primitive(&x_grad)), Some(vector(weight_grad))]
        }
    }
    let inputs = both(x, weight)?;
    let output = ops::rms_norm(&value(&inputs[0]), &value(&inputs[1]), eps);
    let [x, weight] = inputs.each_ref().map(|input| dense(input.primitive().clone()));
    Some(record(inputs, State { x, weight, eps: eps as f32 }, output))
}

/// [`ops::rope`].
pub(crate) fn rope(x: &Tensor<2>, angles: &RopeAngles) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        /// Turns back.
        angles: RopeAngles,
    }
    impl Gradient<Flex, 1> for State {
        fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            let grad = dense(grad);
            [Some(primitive(&ops::rope(&Tensor::from_primitive::<Flex>(grad), &self.angles)))]
        }
    }
    let input = tracked(x)?;
    let output = ops::rope(&value(&input), angles);
    let back = RopeAngles { cos: angles.cos.clone(), sin: angles.sin.clone().neg() };
    Some(record([input], State { angles: back }, output))
}

/// [`ops::gated`].
pub(crate) fn gated(gate_up: &Tensor<2>, activation: Activation) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        gate_up: FlexTensor,
        activation: Activation,
    }
    impl Gradient<Flex, 1> for State {
        fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
            let grad = dense(grad);
            let gate_up = rows(&self.gate_up);
            let out = filled_rows(gate_up.rows(), gate_up.cols(), |out| {
                let (isa, grad) = (Isa::best(), rows(&grad));
                kernels::gated_backward(isa, self.activation, gate_up, grad, out);
            });
            [Some(primitive(&out))]
        }
    }
    let input = tracked(gate_up)?;
    let output = ops::gated(&value(&input), activation);
    let gate_up = dense(input.primitive().clone());
    Some(record([input], State { gate_up, activation }, output))
}

/// Attention of the segments' rows; see [`SegmentAttention`].
pub(crate) fn attend(
    attention: &SegmentAttention,
    shape: &AttentionShape,
    [q, k, v]: [&Tensor<2>; 3],
) -> Option<Tensor<2>> {
    #[derive(Clone, Debug)]
    struct State {
        attention: SegmentAttention,
        shape: AttentionShape,
        inputs: [FlexTensor; 3],
    }
    impl Gradient<Flex, 3> for State {
        fn backward(self, grad: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
            let grad = dense(grad);
            let AttentionShape { num_heads, num_kv_heads, head_dim, scale, window } = self.shape;
            let [q, k, v] = self.inputs.each_ref().map(rows);
            let inputs = AttentionInputs { q, k, v, grad: rows(&grad) };
            let families = self.attention.families();
            let tasks = families.len() * num_kv_heads;
            let mut grads = [q, k, v].map(|x| vec![0.0_f32; x.rows() * x.cols()]);
            let [q_grad, k_grad, v_grad] = &mut grads;
            let gradients = AttentionGradients {
                q: RowsMut::new(q_grad, q.cols()),
                k: RowsMut::new(k_grad, k.cols()),
                v: RowsMut::new(v_grad, v.cols()),
            };
            kernels::for_each_task(tasks, true, |task| {
                let (family, kv_head) = (&families[task / num_kv_heads], task % num_kv_heads);
                let heads = num_heads / num_kv_heads;
                let group = HeadGroup { kv_head, heads, head_dim, scale, window };
                kernels::attend_backward(Isa::best(), family, group, inputs, gradients);
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
    let [first, second] = both(q, k)?;
    let inputs = [first, second, both(q, v)?[1].clone()];
    let kept = inputs.each_ref().map(|input| dense(input.primitive().clone()));
    let [q, k, v] = kept.each_ref().map(|x| Tensor::<2>::from_primitive::<Flex>(x.clone()));
    let output = attention.forward_on_cpu(shape, &q, &k, &v);
    let state = State { attention: attention.clone(), shape: *shape, inputs: kept };
    Some(record(inputs, state, output))
}

/// Rows of logits that are held at once, in numbers: 256 MiB.
const LOGITS_AT_ONCE: usize = 1 << 26;

/// How many of `rows` rows go through a head of `vocab` tokens at once.
pub(crate) fn rows_at_once(rows: usize, vocab: usize) -> usize {
    (LOGITS_AT_ONCE / vocab).clamp(1, rows.max(1))
}

/// The log-probabilities of `targets`, and the entropies of their distributions, of hidden states
/// `[r, d]` under a head `[v, d]`. Logits are made for a part of the rows at a time and made again
/// for the gradient.
pub(crate) fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Tensor<2>,
    targets: &Targets,
) -> Option<(Tensor<1>, Vec<f32>)> {
    #[derive(Clone, Debug)]
    struct State {
        hidden: FlexTensor,
        head: FlexTensor,
        packed: Arc<Packed>,
        sums: Vec<LogSumExp>,
        targets: Targets,
    }
    impl Gradient<Flex, 2> for State {
        fn backward(self, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
            let grad = dense(grad);
            let (hidden, head, grad) = (rows(&self.hidden), rows(&self.head), numbers(&grad));
            let packed_columns = wanted[0].then(|| Packed::columns(head));
            let mut hidden_grad = Vec::with_capacity(hidden.rows() * hidden.cols());
            let mut head_grad: Option<Tensor<2>> = None;
            let at_once = rows_at_once(hidden.rows(), head.rows());
            for first in (0..hidden.rows()).step_by(at_once) {
                let part = first..(first + at_once).min(hidden.rows());
                let part_hidden = primitive(&row_range(&self.hidden, &part));
                let scale = self.targets.scale();
                let tokens = self.targets.tokens();
                let weighted: Vec<_> = part
                    .clone()
                    .map(|row| (self.sums[row], tokens[row], grad[row] * scale))
                    .collect();
                let mut data = self.packed.times(rows(&part_hidden));
                self.targets.shape_rows(first, &mut data, head.rows());
                kernels::softmax_backward(
                    Isa::best(),
                    RowsMut::new(&mut data, head.rows()),
                    &weighted,
                );
                let logits_grad = RowsRef::new(&data, part.len(), head.rows(), head.rows());
                if let Some(packed) = &packed_columns {
                    hidden_grad.extend(packed.times(logits_grad));
                }
                if wanted[1] {
                    let part = weight_gradient(logits_grad, rows(&part_hidden));
                    let part = Tensor::from_primitive::<Flex>(part);
                    head_grad = Some(match head_grad.take() {
                        Some(sum) => ops::add(sum, part),
                        None => part,
                    });
                }
            }
            let shape = [hidden.rows(), hidden.cols()];
            let hidden_grad = wanted[0].then(|| primitive(&from_vec(hidden_grad, shape, 0)));
            [hidden_grad, head_grad.as_ref().map(primitive)]
        }
    }
    let inputs = both(hidden, head)?;
    let kept = dense(inputs[0].primitive().clone());
    let weight = inputs[1].primitive().to_contiguous();
    let [vocab, inner] = value::<2>(&inputs[1]).dims();
    let packed = Arc::new(Packed::rows(numbers(&weight), vocab, inner));
    let mut logprobs = Vec::with_capacity(targets.len());
    let mut entropies = Vec::with_capacity(targets.len());
    let mut sums = Vec::with_capacity(targets.len());
    let at_once = rows_at_once(targets.len(), vocab);
    for first in (0..targets.len()).step_by(at_once) {
        let part = first..(first + at_once).min(targets.len());
        let mut logits = packed.times(rows(&primitive(&row_range(&kept, &part))));
        targets.shape_rows(first, &mut logits, vocab);
        let found = kernels::log_sum_exps(Isa::best(), &logits, vocab);
        for ((logits, (sum, entropy)), target) in
            logits.chunks_exact(vocab).zip(found).zip(&targets.tokens()[part])
        {
            logprobs.push(sum.logprob(logits[*target as usize]));
            entropies.push(entropy);
            sums.push(sum);
        }
    }
    let output: Tensor<1> = from_vec(logprobs, [targets.len()], 0);
    let state = State { hidden: kept, head: weight, packed, sums, targets: targets.clone() };
    Some((record(inputs, state, output), entropies))
}

fn row_range(x: &FlexTensor, range: &std::ops::Range<usize>) -> Tensor<2> {
    Tensor::<2>::from_primitive::<Flex>(x.clone()).narrow(0, range.start, range.len())
}
