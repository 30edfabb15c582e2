//! The rotary embedding on GPUs.

use burn::backend::Cube;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;

use super::RopeAngles;
use crate::ops::autodiff_node::{Gradient, primitive, record, track, value};
use crate::ops::gpu_support::{
    Burn, allocate, burn_tensor, cube_tensor, rows_and_width, with_dense_rows,
};

#[cube(launch)]
fn rope_kernel<T: Float>(
    x: &Tensor<T>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    output: &mut Tensor<T>,
    direction: f32,
    #[define(T)] _format: ElemType,
) {
    let (rows, width, half) = (output.shape(0), output.shape(1), cos.shape(1));
    let pairs = width / 2;
    if ABSOLUTE_POS >= rows * pairs {
        terminate!();
    }
    let (row, pair) = (ABSOLUTE_POS / pairs, ABSOLUTE_POS % pairs);
    let (head, offset) = (pair / half, pair % half);
    let column = head * 2 * half + offset;
    let from = row * x.stride(0) + column;
    let to = row * width + column;
    let (first, second) = (f32::cast_from(x[from]), f32::cast_from(x[from + half]));
    let (cos, sin) =
        (cos[row * cos.stride(0) + offset], sin[row * sin.stride(0) + offset] * direction);
    output[to] = T::cast_from(first * cos - second * sin);
    output[to + half] = T::cast_from(second * cos + first * sin);
}

/// Rotates the rows of a GPU tensor; under autodiff, as one node.
pub(super) fn rope(x: &Burn<2>, angles: &RopeAngles) -> Option<Burn<2>> {
    if !x.is_autodiff() {
        return rotate(x, angles, false);
    }
    let input = track::<Cube, 2>(x)?;
    let output = rotate(&value::<Cube, 2>(&input), angles, false)?;
    Some(record::<Cube, _, 1, 2>([input], BackwardState { angles: angles.clone() }, output))
}

/// The values that the backward pass reads.
#[derive(Clone, Debug)]
struct BackwardState {
    angles: RopeAngles,
}

impl Gradient<Cube, 1> for BackwardState {
    fn backward(self, grad: FloatTensor<Cube>, _: [bool; 1]) -> [Option<FloatTensor<Cube>>; 1] {
        let grad = rotate(&burn_tensor(grad), &self.angles, true);
        [grad.map(primitive::<Cube, 2>)]
    }
}

/// Rotates by the angles, or by the opposite ones.
fn rotate(x: &Burn<2>, angles: &RopeAngles, is_opposite: bool) -> Option<Burn<2>> {
    let x = with_dense_rows(cube_tensor(x)?);
    let [cos, sin] = [cube_tensor(&angles.cos)?, cube_tensor(&angles.sin)?].map(with_dense_rows);
    let [rows, width] = rows_and_width(&x);
    let output = allocate(&x, [rows, width], x.dtype);
    let (client, format) = (x.client.clone(), dtype_to_storage_type(x.dtype));
    let units = rows * width / 2;
    let dim = CubeDim::new(&client, units);
    rope_kernel::launch(
        &client,
        calculate_cube_count_elemwise(&client, units, dim),
        dim,
        x.into_tensor_arg(),
        cos.into_tensor_arg(),
        sin.into_tensor_arg(),
        output.clone().into_tensor_arg(),
        if is_opposite { -1.0 } else { 1.0 },
        format,
    );
    Some(burn_tensor(output))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops::gpu_support::testing::{compare, gpu, with_gaps};

    #[test]
    fn rows_of_any_width_agree_with_plain_operations() {
        let Some(device) = gpu() else { return };
        for (rows, half) in [(1, 3), (5, 65), (70, 288)] {
            let frequencies: Vec<f32> = (0..half).map(|i| 1.0 / (i + 1) as f32).collect();
            let positions: Vec<u32> = (0..rows).map(|row| row as u32 * 3).collect();
            let angles = RopeAngles::new(&positions, &frequencies, &device);
            let plain = RopeAngles::new(&positions, &frequencies, &Device::flex());
            compare(
                with_gaps([rows, 4 * half], [rows, 4 * half], &device),
                |x| rope(x, &angles).expect("on a GPU"),
                |x| super::super::rope(x, &plain),
            );
        }
    }
}
