//! Kernels for graphics cards, written once for Vulkan, Metal, DirectX and CUDA.
//!
//! A card is kept waiting by the host, which takes some ten microseconds to launch an operation, whatever
//! its size. What burn writes in many operations is one kernel here: norms, the rotary embedding, gated
//! activations and the softmax of masked scores, each with the gradient of its inputs. Arithmetic is in
//! single precision, tensors are in the device's format.
//!
//! A function gives `None` for tensors of other backends. Under autodiff, an operation is one node.

mod gated;
mod masked_softmax;
mod rms_norm;
mod rope;

use burn::backend::Cube;
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_dtype;
use burn_cubecl::tensor::CubeTensor;

pub(crate) use gated::gated;
pub(crate) use masked_softmax::{masked_softmax, masked_softmax_backward};
pub(crate) use rms_norm::rms_norm;
pub(crate) use rope::rope;

/// A tensor outside of kernels; inside, it is CubeCL's.
type Burn<const D: usize> = burn::tensor::Tensor<D>;

/// Units that work on a row together.
const UNITS: u32 = 128;
/// Cubes in a row of cubes: all devices allow as many.
const CUBES_IN_A_ROW: usize = 32_768;

/// The tensor of the device.
fn bare<const D: usize>(tensor: &Burn<D>) -> Option<CubeTensor> {
    tensor.clone().try_into_primitive::<Cube>().ok()
}

fn wrapped<const D: usize>(tensor: CubeTensor) -> Burn<D> {
    Burn::from_primitive::<Cube>(tensor)
}

/// The same numbers with dense rows.
fn with_dense_rows(tensor: CubeTensor) -> CubeTensor {
    if tensor.meta.strides()[1] == 1 { tensor } else { into_contiguous(tensor) }
}

/// A new tensor where `like` lies; its numbers are to be written.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], format: DType) -> CubeTensor {
    empty_device_dtype(like.client.clone(), like.device.clone(), shape.into(), format)
}

fn rows_and_width(tensor: &CubeTensor) -> [usize; 2] {
    let shape = tensor.meta.shape();
    [shape[0], shape[1]]
}

/// A cube for each row.
fn cubes(rows: usize) -> CubeCount {
    let across = rows.clamp(1, CUBES_IN_A_ROW);
    let count = |n: usize| u32::try_from(n).expect("a tensor has fewer rows");
    CubeCount::Static(count(across), count(rows.div_ceil(across)), 1)
}

/// The row of this cube; where there are more cubes than rows, some do the last one's work again.
#[cube]
fn cube_row(rows: usize) -> usize {
    let row = (CUBE_POS_X + CUBE_POS_Y * CUBE_COUNT_X) as usize;
    clamp_max(row, rows - 1)
}

#[cube]
fn clamp_max(value: usize, largest: usize) -> usize {
    select(value < largest, value, largest)
}

/// The sum of what the units of a cube have.
#[cube]
fn cube_sum(value: f32, parts: &mut Shared<[f32]>, #[comptime] units: u32) -> f32 {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    parts[unit] = value;
    let steps = comptime!(units.ilog2());
    #[unroll]
    for step in 0..steps {
        let half = comptime!((units >> (step + 1)) as usize);
        sync_cube();
        if unit < half {
            parts[unit] = parts[unit] + parts[unit + half];
        }
    }
    sync_cube();
    parts[0]
}

/// The largest of what the units of a cube have.
#[cube]
fn cube_max(value: f32, parts: &mut Shared<[f32]>, #[comptime] units: u32) -> f32 {
    let unit = UNIT_POS_X as usize;
    sync_cube();
    parts[unit] = value;
    let steps = comptime!(units.ilog2());
    #[unroll]
    for step in 0..steps {
        let half = comptime!((units >> (step + 1)) as usize);
        sync_cube();
        if unit < half {
            parts[unit] = max(parts[unit], parts[unit + half]);
        }
    }
    sync_cube();
    parts[0]
}
