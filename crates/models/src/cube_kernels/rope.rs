//! The rotary embedding.

use burn::backend::Cube;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::ir::ElemType;
use burn_cubecl::cubecl::prelude::*;

use super::{Burn, bare, empty, in_rows, rows_and_width, wrapped};
use crate::ops::RopeAngles;
use crate::recorded::{Gradient, primitive, record, track, value};

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
    let (head, place) = (pair / half, pair % half);
    let column = head * 2 * half + place;
    let from = row * x.stride(0) + column;
    let to = row * width + column;
    let (first, second) = (f32::cast_from(x[from]), f32::cast_from(x[from + half]));
    let (cos, sin) =
        (cos[row * cos.stride(0) + place], sin[row * sin.stride(0) + place] * direction);
    output[to] = T::cast_from(first * cos - second * sin);
    output[to + half] = T::cast_from(second * cos + first * sin);
}

/// See [`crate::ops::rope`].
pub(crate) fn rope(x: &Burn<2>, angles: &RopeAngles) -> Option<Burn<2>> {
    if !x.is_autodiff() {
        return turned(x, angles, false);
    }
    let input = track::<Cube, 2>(x)?;
    let output = turned(&value::<Cube, 2>(&input), angles, false)?;
    Some(record::<Cube, _, 1, 2>([input], Kept { angles: angles.clone() }, output))
}

/// What the backward pass reads.
#[derive(Clone, Debug)]
struct Kept {
    angles: RopeAngles,
}

impl Gradient<Cube, 1> for Kept {
    fn backward(self, grad: FloatTensor<Cube>, _: [bool; 1]) -> [Option<FloatTensor<Cube>>; 1] {
        let turned = turned(&wrapped(grad), &self.angles, true);
        [turned.map(primitive::<Cube, 2>)]
    }
}

fn turned(x: &Burn<2>, angles: &RopeAngles, is_backwards: bool) -> Option<Burn<2>> {
    let x = in_rows(bare(x)?);
    let [cos, sin] = [bare(&angles.cos)?, bare(&angles.sin)?].map(in_rows);
    let [rows, width] = rows_and_width(&x);
    let output = empty(&x, [rows, width], x.dtype);
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
        if is_backwards { -1.0 } else { 1.0 },
        format,
    );
    Some(wrapped(output))
}
