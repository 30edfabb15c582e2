//! Our own operations as nodes of burn's autodiff graph, on any backend.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, DispatchKindConversion, DispatchTensor};
use burn::tensor::Tensor;

/// A tensor in the autodiff graph of backend `B`.
pub(crate) type Tracked<B> = FloatTensor<Autodiff<B>>;

/// The state that an operation saves for the backward pass, and the gradients of its `N` inputs.
pub(crate) trait Gradient<B: Backend, const N: usize>:
    Clone + Debug + Send + 'static
{
    /// Computes the gradients of the `wanted` inputs from that of the output.
    fn backward(self, grad: FloatTensor<B>, wanted: [bool; N]) -> [Option<FloatTensor<B>>; N];
}

#[derive(Debug)]
struct Node<G>(PhantomData<G>);

impl<B: Backend, G: Gradient<B, N>, const N: usize> Backward<B, N> for Node<G> {
    type State = G;

    fn backward(self, ops: Ops<G, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let grad = gradients.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.into_iter().zip(ops.state.backward(grad, wanted)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                gradients.register::<B>(parent.id, grad);
            }
        }
    }
}

/// Records `output`, which was computed outside of the graph, as a node after `inputs`.
///
/// # Panics
///
/// If `output` is not a tensor of backend `B` outside of autodiff.
pub(crate) fn record<B: Backend, G: Gradient<B, N>, const N: usize, const D: usize>(
    inputs: [Tracked<B>; N],
    gradient: G,
    output: Tensor<D>,
) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let output = primitive::<B, D>(output);
    let nodes = inputs.each_ref().map(|input| input.node());
    let prepared = Node(PhantomData::<G>).prepare::<NoCheckpointing>(nodes).compute_bound();
    let tracked = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(gradient, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<B>>(tracked)
}

/// Returns the nodes of the tensors on backend `B`, if one of them is under autodiff. The others become
/// constants.
pub(crate) fn track_all<B: Backend, const N: usize>(
    tensors: [&Tensor<2>; N],
) -> Option<[Tracked<B>; N]>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    if !tensors.iter().any(|tensor| tensor.is_autodiff()) {
        return None;
    }
    let all: Option<Vec<_>> = tensors.into_iter().map(track::<B, 2>).collect();
    all?.try_into().ok()
}

/// Returns the node of a tensor on backend `B`; a tensor outside of autodiff becomes a constant.
pub(crate) fn track<B: Backend, const D: usize>(tensor: &Tensor<D>) -> Option<Tracked<B>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<B>>,
{
    let tensor = if tensor.is_autodiff() { tensor.clone() } else { tensor.clone().autodiff() };
    tensor.try_into_primitive::<Autodiff<B>>().ok()
}

/// Returns the value of a node, outside of the graph.
pub(crate) fn value<B: Backend, const D: usize>(tracked: &Tracked<B>) -> Tensor<D>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    Tensor::from_primitive::<B>(tracked.primitive().clone())
}

/// Returns the backend's own tensor.
///
/// # Panics
///
/// If it is on another backend or under autodiff.
pub(crate) fn primitive<B: Backend, const D: usize>(tensor: Tensor<D>) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    tensor.try_into_primitive::<B>().expect("a tensor of this backend outside of autodiff")
}
