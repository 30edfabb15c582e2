//! Products with a weight matrix and their gradients on the CPU.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use crate::kernels::{LANES, PackedMatrix, PanelsView, pack_rows, product};
use crate::ops::autodiff_node::{Gradient, record};
use crate::ops::cpu_support::{
    both, dense, filled_rows, from_vec, on_cpu, packed_product, primitive, rows, tracked, values,
    weight_gradient,
};

/// Computes `x · Wᵀ` for a weight `[out, in]` outside of packed storage; under autodiff, as one node.
pub(super) fn linear(x: &Tensor<2>, weight: &Tensor<2>) -> Option<Tensor<2>> {
    let [out, inner] = weight.dims();
    let times = |x: &FlexTensor, weight: &FlexTensor| {
        packed_product(rows(x), &PackedMatrix::rows(values(weight), out, inner))
    };
    // The same kernel runs with and without a graph, so that a weight gives the same values in both.
    if let (Some(x), Some(weight)) = (on_cpu(x), on_cpu(weight)) {
        return Some(times(&dense(x), &weight.to_contiguous()));
    }
    let inputs = both(x, weight)?;
    let x = dense(inputs[0].primitive().clone());
    let weight = inputs[1].primitive().to_contiguous();
    let output = times(&x, &weight);
    Some(record(inputs, BackwardState { x, weight }, output))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    x: FlexTensor,
    weight: FlexTensor,
}

impl Gradient<Flex, 2> for BackwardState {
    fn backward(self, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let grad = dense(grad);
        let (x, weight, grad) = (rows(&self.x), rows(&self.weight), rows(&grad));
        [
            wanted[0].then(|| primitive(&packed_product(grad, &PackedMatrix::columns(weight)))),
            wanted[1].then(|| primitive(&weight_gradient(grad, x))),
        ]
    }
}

/// Packs a matrix `[out, inner]` into panels, `[ceil(out / 16), inner, 16]`.
pub(super) fn pack(weight: &[f32], out: usize, inner: usize) -> Tensor<3> {
    let (data, start) = pack_rows(weight, out, inner);
    from_vec(data, [out.div_ceil(LANES), inner, LANES], start)
}

/// Computes `x · Wᵀ` for a packed, frozen weight; under autodiff, as one node.
///
/// # Panics
///
/// If `x` is not on the CPU in single precision.
pub(super) fn packed_linear(x: &Tensor<2>, panels: &Tensor<3>, out: usize) -> Tensor<2> {
    let panels = PackedWeight { panels: cpu_panels(panels), out, inner: panels.dims()[1] };
    let times = |x: FlexTensor, panels: &PackedWeight| {
        let x = dense(x);
        from_vec(product(rows(&x), panels.view()), [rows(&x).rows(), out], 0)
    };
    match tracked(x) {
        Some(input) => {
            let output = times(input.primitive().clone(), &panels);
            record([input], panels, output)
        }
        None => times(on_cpu(x).expect("packed weights are used with CPU tensors only"), &panels),
    }
}

/// Looks up rows of a packed weight.
pub(super) fn packed_rows(panels: &Tensor<3>, out: usize, ids: &[u32]) -> Tensor<2> {
    let inner = panels.dims()[1];
    let panels = PackedWeight { panels: cpu_panels(panels), out, inner };
    filled_rows(ids.len(), inner, |rows| {
        let view = panels.view();
        for (row, id) in ids.iter().enumerate() {
            // SAFETY: one task writes all rows, one after the other.
            view.copy_row(*id as usize, unsafe { rows.slice(row, 0, inner) });
        }
    })
}

fn cpu_panels(panels: &Tensor<3>) -> FlexTensor {
    on_cpu(panels).expect("packed weights are CPU tensors")
}

/// A packed weight, which the backward pass reads too.
#[derive(Clone, Debug)]
struct PackedWeight {
    panels: FlexTensor,
    out: usize,
    inner: usize,
}

impl PackedWeight {
    fn view(&self) -> PanelsView<'_> {
        let len = self.out.div_ceil(LANES) * self.inner * LANES;
        let data = &self.panels.storage::<f32>()[self.panels.layout().start_offset()..];
        PanelsView::new(&data[..len], self.out, self.inner)
    }
}

impl Gradient<Flex, 1> for PackedWeight {
    fn backward(self, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let grad = dense(grad);
        let x_grad = packed_product(rows(&grad), &PackedMatrix::transposed(self.view()));
        [Some(primitive(&x_grad))]
    }
}
