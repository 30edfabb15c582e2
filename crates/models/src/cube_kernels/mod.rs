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

/// The same numbers in rows that are dense and evenly spaced; burn pads the rows of what it allocates on
/// some devices, and a part of a matrix has gaps between its rows.
fn in_rows(tensor: CubeTensor) -> CubeTensor {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let last = shape.num_dims() - 1;
    let is_even = |dim: usize| strides[dim] == strides[dim + 1] * shape[dim + 1];
    if strides[last] == 1 && (0..last.saturating_sub(1)).all(is_even) {
        return tensor;
    }
    into_contiguous(tensor)
}

/// A new tensor without gaps where `like` lies; its numbers are to be written.
fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], format: DType) -> CubeTensor {
    let handle = like.client.empty(shape.iter().product::<usize>() * format.size());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape.into(), handle, format)
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
    select(row < rows - 1, row, rows - 1)
}

/// The sum of what the units of a cube have, or the largest.
#[cube]
fn cube_fold(
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
mod tests {
    //! On the first graphics adapter, against burn's operations on the CPU in double precision.

    use burn::tensor::{Device as BurnDevice, Distribution, TensorData};

    use super::*;
    use crate::Device;
    use crate::kernels::Activation;
    use crate::masked_softmax as plain;
    use crate::ops::{self, RopeAngles, to_vec};

    fn card() -> Option<BurnDevice> {
        let found = ["cuda:0", "wgpu:0"].iter().find_map(|name| Device::parse(name).ok());
        if found.is_none() {
            println!("skipped: no graphics adapter is there");
        }
        found.map(|device| device.burn().clone())
    }

    fn random<const D: usize>(shape: [usize; D]) -> Burn<D> {
        Burn::random(shape, Distribution::Normal(0.0, 1.0), &BurnDevice::flex())
    }

    fn moved<const D: usize>(x: &Burn<D>, device: &BurnDevice) -> Burn<D> {
        Burn::from_data(TensorData::new(to_vec(x.clone()), x.dims()), device)
    }

    /// Columns from a larger matrix, on the card and in double precision: there are gaps between rows.
    fn part(x: &Burn<2>, width: usize, device: &BurnDevice) -> [Burn<2>; 2] {
        [moved(x, device), x.clone().cast(DType::F64)].map(|x| x.narrow(1, 3, width))
    }

    fn assert_close<const D: usize>(what: &str, found: &Burn<D>, expected: &Burn<D>) {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let (found, expected) = (to_vec(found.clone()), to_vec(expected.clone()));
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{what}: {far}");
    }

    /// Values and gradients of an operation on both.
    fn compare(
        what: &str,
        inputs: [[Burn<2>; 2]; 2],
        operation: impl Fn(&Burn<2>) -> Burn<2>,
        reference: impl Fn(&Burn<2>) -> Burn<2>,
    ) {
        let [[x, plain_x], [grad, plain_grad]] = inputs;
        let run = |x: Burn<2>, grad: Burn<2>, operation: &dyn Fn(&Burn<2>) -> Burn<2>| {
            let bare = operation(&x);
            let x = x.autodiff().require_grad();
            let y = operation(&x);
            let mut gradients = (y.clone() * grad.autodiff()).sum().backward();
            [bare, y.without_autodiff(), x.grad_remove(&mut gradients).expect("it is a leaf")]
        };
        let found = run(x, grad, &operation);
        let expected = run(plain_x, plain_grad, &reference);
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(what, found, expected);
        }
    }

    #[test]
    fn rows_of_any_width_agree_with_plain_operations() {
        let Some(device) = card() else { return };
        for (rows, width) in [(1, 6), (5, 130), (70, 576)] {
            let x = random([rows, 2 * width + 7]);
            let grad = random([rows, 2 * width + 5]);
            let of = |width: usize| [part(&x, width, &device), part(&grad, width, &device)];
            let weight = random([width]);
            let [on_card, wide] = [moved(&weight, &device), weight.cast(DType::F64)];
            compare(
                "norm",
                of(width),
                |x| rms_norm(x, &on_card, 1e-5).expect("on a card"),
                |x| ops::rms_norm(x, &wide, 1e-5),
            );
            let half = width / 2;
            let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / (i + 1) as f32).collect();
            let positions: Vec<u32> = (0..rows).map(|row| row as u32 * 3).collect();
            let angles = RopeAngles::new(&positions, &frequencies, &device);
            let plain = RopeAngles::new(&positions, &frequencies, &BurnDevice::flex());
            compare(
                "rope",
                of(2 * width),
                |x| rope(x, &angles).expect("on a card"),
                |x| ops::rope(x, &plain),
            );
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let [x, _] = of(2 * width);
                let [_, grad] = of(width);
                compare(
                    "gate",
                    [x, grad],
                    |x| gated(x, activation).expect("on a card"),
                    |x| ops::gated(x, activation),
                );
            }
        }
    }

    #[test]
    fn weights_of_the_norm_get_the_gradient_of_plain_operations() {
        let Some(device) = card() else { return };
        let (x, grad, weight) = (random([70, 130]), random([70, 130]), random([130]));
        let run = |x: Burn<2>, grad: Burn<2>, weight: Burn<1>| {
            let weight = weight.autodiff().require_grad();
            let y = ops::rms_norm(&x.autodiff(), &weight, 1e-5);
            let mut gradients = (y * grad.autodiff()).sum().backward();
            weight.grad_remove(&mut gradients).expect("it is a leaf")
        };
        let found = run(moved(&x, &device), moved(&grad, &device), moved(&weight, &device));
        let expected = run(x.cast(DType::F64), grad.cast(DType::F64), weight.cast(DType::F64));
        assert_close("weight", &found, &expected);
    }

    #[test]
    fn masked_softmax_and_its_gradient_agree_with_plain_operations() {
        let Some(device) = card() else { return };
        let (sequences, heads, group, rows) = (3, 2, 2, 5);
        for keys in [5, 129, 300] {
            let shape = [sequences, heads, group * rows, keys];
            let (products, grad) = (random(shape), random(shape));
            // Row m of a sequence sees the first keys - rows + m + 1 of them.
            let mask = (0..sequences * rows * keys).map(|i| {
                let (row, key) = (i / keys % rows, i % keys);
                if key + rows <= keys + row { 0.0 } else { f32::NEG_INFINITY }
            });
            let mask = TensorData::new(mask.collect::<Vec<f32>>(), [sequences, rows, keys]);
            let [on_card, mask] = [&device, &BurnDevice::flex()]
                .map(|device| Burn::<3>::from_data(mask.clone(), device));
            // Keys of a larger block: rows have gaps between them.
            let gaps = Burn::cat(vec![products.clone(), random(shape)], 3);
            let on_card_products = moved(&gaps, &device).narrow(3, 0, keys);
            let (weights, sums) =
                masked_softmax(&on_card_products, &on_card, 0.3).expect("on a card");
            let (expected, expected_sums) = plain::masked_softmax(&products, &mask, 0.3);
            assert_close("weights", &weights, &expected);
            assert_close("sums", &sums, &expected_sums);
            let read = [&on_card_products, &sums, &moved(&grad, &device)];
            let found = masked_softmax_backward(read, &on_card, 0.3).expect("on a card");
            let read = [&products, &expected_sums, &grad];
            let expected = plain::masked_softmax_backward(read, &mask, 0.3);
            for (found, expected) in found.iter().zip(&expected) {
                assert_close("gradients", found, expected);
            }
        }
    }
}
