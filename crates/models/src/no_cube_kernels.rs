//! What [`crate::ops`] asks of kernels for graphics cards, where no such backend is compiled in: nothing.

use burn::tensor::Tensor;

use crate::kernels::Activation;
use crate::ops::RopeAngles;

pub(crate) fn rms_norm(_: &Tensor<2>, _: &Tensor<1>, _: f64) -> Option<Tensor<2>> {
    None
}

pub(crate) fn rope(_: &Tensor<2>, _: &RopeAngles) -> Option<Tensor<2>> {
    None
}

pub(crate) fn gated(_: &Tensor<2>, _: Activation) -> Option<Tensor<2>> {
    None
}

pub(crate) fn masked_softmax(
    _: &Tensor<4>,
    _: &Tensor<3>,
    _: f32,
) -> Option<(Tensor<4>, Tensor<4>)> {
    None
}

pub(crate) fn masked_softmax_backward(
    _: [&Tensor<4>; 3],
    _: &Tensor<3>,
    _: f32,
) -> Option<[Tensor<4>; 2]> {
    None
}
