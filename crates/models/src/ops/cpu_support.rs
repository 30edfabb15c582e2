//! CPU tensors as kernels read and write them, and as nodes of the autodiff graph hold them.

use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::{DType, Shape, Tensor};
use burn_flex::{Flex, FlexTensor};

use super::autodiff_node;
use crate::kernels::{PackedMatrix, RowsMut, RowsRef, transpose};

/// Returns the tensor's CPU storage if it is in single precision and outside of autodiff.
pub(crate) fn on_cpu<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    let flex = tensor.clone().try_into_primitive::<Flex>().ok()?;
    (flex.dtype() == DType::F32).then_some(flex)
}

/// Returns the rows of a two-dimensional CPU tensor, or none if its last dimension is not dense.
pub(crate) fn rows_of(flex: &FlexTensor) -> Option<RowsRef<'_>> {
    let layout = flex.layout();
    let (shape, strides) = (layout.shape(), layout.strides());
    let (rows, cols) = (shape[0], shape[1]);
    if (cols > 1 && strides[1] != 1) || strides[0] < 0 {
        return None;
    }
    let data: &[f32] = &flex.storage::<f32>()[layout.start_offset()..];
    Some(RowsRef::new(data, rows, cols, strides[0].unsigned_abs()))
}

/// Returns the same values with a dense last dimension.
pub(crate) fn dense(flex: FlexTensor) -> FlexTensor {
    let is_dense = match flex.layout().shape().num_dims() {
        2 => rows_of(&flex).is_some(),
        _ => flex.is_contiguous(),
    };
    if is_dense { flex } else { flex.to_contiguous() }
}

/// Returns the rows of a tensor that went through [`dense`].
pub(crate) fn rows(flex: &FlexTensor) -> RowsRef<'_> {
    rows_of(flex).expect("made dense")
}

/// Returns the values of a contiguous tensor.
pub(crate) fn values(flex: &FlexTensor) -> &[f32] {
    let len = flex.layout().shape().num_elements();
    &flex.storage::<f32>()[flex.layout().start_offset()..][..len]
}

/// Creates a CPU tensor and lets `fill` write its rows.
pub(crate) fn filled_rows(rows: usize, cols: usize, fill: impl FnOnce(RowsMut)) -> Tensor<2> {
    let mut data = vec![0.0_f32; rows * cols];
    fill(RowsMut::new(&mut data, cols));
    from_vec(data, [rows, cols], 0)
}

/// Creates a CPU tensor over `data`, whose first value is at index `start`.
pub(crate) fn from_vec<const D: usize>(
    data: Vec<f32>,
    shape: [usize; D],
    start: usize,
) -> Tensor<D> {
    let contiguous = burn_flex::Layout::contiguous(Shape::from(shape));
    let strides = contiguous.strides().to_vec();
    let layout = burn_flex::Layout::new(Shape::from(shape), strides, start);
    let bytes = burn::tensor::Bytes::from_elems(data);
    let flex = FlexTensor::new(bytes, layout, DType::F32);
    Tensor::from_primitive::<Flex>(flex)
}

/// A CPU tensor in the autodiff graph.
pub(crate) type Tracked = autodiff_node::Tracked<Flex>;

/// Returns the tensor's node if it is in single precision on the CPU under autodiff.
pub(crate) fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<Tracked> {
    let tracked = tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()?;
    (tracked.dtype() == DType::F32).then_some(tracked)
}

/// Returns the nodes of both tensors, if one of them is under autodiff.
pub(crate) fn both<const A: usize, const B: usize>(
    a: &Tensor<A>,
    b: &Tensor<B>,
) -> Option<[Tracked; 2]> {
    match (tracked(a), tracked(b)) {
        (None, None) => None,
        (a_tracked, b_tracked) => Some([
            a_tracked.or_else(|| tracked(&a.clone().autodiff()))?,
            b_tracked.or_else(|| tracked(&b.clone().autodiff()))?,
        ]),
    }
}

/// Returns the storage of a kernel's result.
pub(crate) fn primitive<const D: usize>(tensor: &Tensor<D>) -> FlexTensor {
    on_cpu(tensor).expect("kernels give CPU tensors in single precision")
}

/// Computes `a · bᵀ` for a packed `b`: `[m, k]` and `[n, k]` to `[m, n]`.
pub(crate) fn packed_product(a: RowsRef<'_>, packed: &PackedMatrix) -> Tensor<2> {
    from_vec(packed.times(a), [a.rows(), packed.outputs()], 0)
}

/// Computes `Σ_r grad[r][out] · x[r][in]`, the gradient of a weight `[out, in]`.
pub(crate) fn weight_gradient(grad: RowsRef<'_>, x: RowsRef<'_>) -> Tensor<2> {
    let transposed = transpose(grad);
    let a = RowsRef::new(&transposed, grad.cols(), grad.rows(), grad.rows());
    packed_product(a, &PackedMatrix::columns(x))
}

#[cfg(test)]
pub(crate) mod testing {
    //! Inputs and comparisons for tests of kernels.

    use burn::tensor::{DType, Device, Distribution, Tensor};

    use crate::ops::to_vec;

    pub(crate) fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    /// Converts to double precision, for which there are no kernels.
    pub(crate) fn to_f64<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
        tensor.clone().cast(DType::F64)
    }

    /// # Panics
    ///
    /// If the shapes differ.
    pub(crate) fn largest_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (to_vec(a), to_vec(b));
        a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}
