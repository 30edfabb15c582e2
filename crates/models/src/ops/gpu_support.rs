//! Support for CubeCL kernels, which are written once for Vulkan, Metal, DirectX and CUDA.
//!
//! Launching a kernel costs the host about ten microseconds, whatever its size, and the GPU waits
//! meanwhile. An operation that takes many launches in burn is one kernel in a `gpu.rs`. Kernels compute
//! in single precision on tensors in the device's format. They return none for tensors of other backends.

use burn::backend::Cube;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

/// A burn tensor. Inside kernels, `Tensor` is CubeCL's.
pub(crate) type Burn<const D: usize> = burn::tensor::Tensor<D>;

/// Units that share the work on a row.
pub(crate) const UNITS: u32 = 128;
/// Cubes per row of cubes; every device allows this many.
const CUBES_PER_ROW: usize = 32_768;

/// Returns the device's own tensor.
pub(crate) fn cube_tensor<const D: usize>(tensor: &Burn<D>) -> Option<CubeTensor> {
    tensor.clone().try_into_primitive::<Cube>().ok()
}

/// Wraps a device's own tensor.
pub(crate) fn burn_tensor<const D: usize>(tensor: CubeTensor) -> Burn<D> {
    Burn::from_primitive::<Cube>(tensor)
}

/// Returns the same values in rows that are dense and evenly spaced. On some devices burn pads the rows of
/// new tensors, and a part of a matrix has gaps between its rows.
pub(crate) fn with_dense_rows(tensor: CubeTensor) -> CubeTensor {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let last = shape.num_dims() - 1;
    let is_even = |dim: usize| strides[dim] == strides[dim + 1] * shape[dim + 1];
    if strides[last] == 1 && (0..last.saturating_sub(1)).all(is_even) {
        return tensor;
    }
    into_contiguous(tensor)
}

/// Allocates a contiguous tensor on the device of `like`, without initialising it.
pub(crate) fn allocate<const D: usize>(
    like: &CubeTensor,
    shape: [usize; D],
    format: DType,
) -> CubeTensor {
    let handle = like.client.empty(shape.iter().product::<usize>() * format.size());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape.into(), handle, format)
}

/// Returns the number of rows and the width of a matrix.
pub(crate) fn rows_and_width(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

/// Launches one cube per row.
pub(crate) fn cubes(rows: usize) -> CubeCount {
    let across = rows.clamp(1, CUBES_PER_ROW);
    let count = |n: usize| u32::try_from(n).expect("a tensor has fewer rows");
    CubeCount::Static(count(across), count(rows.div_ceil(across)), 1)
}

/// Returns the row of this cube. Where there are more cubes than rows, some repeat the last row.
#[cube]
pub(crate) fn cube_row(rows: usize) -> usize {
    let row = (CUBE_POS_X + CUBE_POS_Y * CUBE_COUNT_X) as usize;
    select(row < rows - 1, row, rows - 1)
}

/// Folds the values of a cube's units: their sum or their maximum.
#[cube]
pub(crate) fn cube_fold(
    value: f32,
    parts: &mut Shared<[f32]>,
    #[comptime] units: u32,
    #[comptime] is_sum: bool,
) -> f32 {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    parts[unit] = value;
    let steps = comptime!(units.ilog2());
    #[unroll]
    for step in 0..steps {
        let half = comptime!((units >> (step + 1)) as usize);
        sync_cube();
        if unit < half {
            let (own, other) = (parts[unit], parts[unit + half]);
            parts[unit] = if is_sum { own + other } else { max(own, other) };
        }
    }
    sync_cube();
    parts[0]
}

#[cfg(test)]
pub(crate) mod testing {
    //! Comparisons of kernels on the first GPU with burn's operations on the CPU in double precision.

    use burn::tensor::{DType, Device as BurnDevice, TensorData};

    use super::Burn;
    use crate::Device;
    pub(crate) use crate::ops::cpu_support::testing::random;
    use crate::ops::to_vec;

    pub(crate) fn gpu() -> Option<BurnDevice> {
        let found = ["cuda:0", "wgpu:0"].iter().find_map(|name| Device::parse(name).ok());
        if found.is_none() {
            println!("skipped: no GPU found");
        }
        found.map(|device| device.burn().clone())
    }

    pub(crate) fn to_device<const D: usize>(x: &Burn<D>, device: &BurnDevice) -> Burn<D> {
        Burn::from_data(TensorData::new(to_vec(x.clone()), x.dims()), device)
    }

    /// Creates an input and a gradient, each on the GPU and in double precision. They are columns of
    /// larger matrices, so that there are gaps between their rows.
    pub(crate) fn with_gaps(
        input: [usize; 2],
        grad: [usize; 2],
        device: &BurnDevice,
    ) -> [[Burn<2>; 2]; 2] {
        [input, grad].map(|[rows, width]| {
            let x = random([rows, width + 7]);
            [to_device(&x, device), x.cast(DType::F64)].map(|x| x.narrow(1, 3, width))
        })
    }

    pub(crate) fn assert_close<const D: usize>(found: &Burn<D>, expected: &Burn<D>) {
        assert_eq!(found.dims(), expected.dims());
        let (found, expected) = (to_vec(found.clone()), to_vec(expected.clone()));
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{far}");
    }

    /// Compares the values and gradients of an operation with those of its reference.
    pub(crate) fn compare(
        [[x, plain_x], [grad, plain_grad]]: [[Burn<2>; 2]; 2],
        operation: impl Fn(&Burn<2>) -> Burn<2>,
        reference: impl Fn(&Burn<2>) -> Burn<2>,
    ) {
        let run = |x: Burn<2>, grad: Burn<2>, operation: &dyn Fn(&Burn<2>) -> Burn<2>| {
            let value = operation(&x);
            let x = x.autodiff().require_grad();
            let y = operation(&x);
            let mut gradients = (y.clone() * grad.autodiff()).sum().backward();
            [value, y.without_autodiff(), x.grad_remove(&mut gradients).expect("it is a leaf")]
        };
        let found = run(x, grad, &operation);
        let expected = run(plain_x, plain_grad, &reference);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(found, expected);
        }
    }
}
