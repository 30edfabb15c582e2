//! The operations a decoder is made of: kernels of ours on the CPU and on graphics cards, plain burn
//! everywhere else.
//!
//! Each function asks whether its input is a bare CPU tensor. If so it runs a kernel of ours on the
//! storage through burn-flex's public tensor type; under autodiff it asks `gradients`, for a
//! card's tensors `cube_kernels`; otherwise it writes the same formula with burn operations.
//! The plain path is the reference of the kernels.
//!
//! Shapes: `r` rows (tokens of all sequences), `d` numbers in a row.

use burn::tensor::{DType, Int, Shape, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};

use crate::cube_kernels;
use crate::device;
use crate::gradients;
pub use crate::kernels::Activation;
use crate::kernels::{self, Isa, LANES, PanelsView, RowsMut, RowsRef};
use crate::lora::Adapter;
use crate::targets::Targets;

/// The tensor's CPU storage, if it has one and no gradients are recorded.
pub(crate) fn on_cpu<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    let flex = tensor.clone().try_into_primitive::<Flex>().ok()?;
    (flex.dtype() == DType::F32).then_some(flex)
}

/// The rows of a CPU tensor of two dimensions whose last one is dense; `None` for other layouts.
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

/// A CPU tensor around what `fill` writes.
pub(crate) fn filled_rows(rows: usize, cols: usize, fill: impl FnOnce(RowsMut)) -> Tensor<2> {
    let mut data = vec![0.0_f32; rows * cols];
    fill(RowsMut::new(&mut data, cols));
    from_vec(data, [rows, cols], 0)
}

/// A CPU tensor over `data` from number `start` on.
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

/// A matrix that multiplies rows: `y = x · Wᵀ`, without bias.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: LinearWeight,
    adapters: Vec<Adapter>,
}

#[derive(Clone, Debug)]
enum LinearWeight {
    /// `[out, in]`, as checkpoints store it: for other devices and for training.
    Rows(Tensor<2>),
    /// `[ceil(out / 16), in, 16]`: for the CPU kernel.
    Panels { panels: Tensor<3>, out: usize },
}

impl Linear {
    /// From a checkpoint's `[out, in]` matrix as a burn tensor; gradients can flow.
    pub fn from_tensor(weight_oi: Tensor<2>) -> Self {
        Self { weight: LinearWeight::Rows(weight_oi), adapters: Vec::new() }
    }

    /// Packed for the CPU kernel.
    pub fn packed(weight: &[f32], out: usize, inner: usize) -> Self {
        let (data, start) = kernels::pack_rows(weight, out, inner);
        let panels = from_vec(data, [out.div_ceil(LANES), inner, LANES], start);
        Self { weight: LinearWeight::Panels { panels, out }, adapters: Vec::new() }
    }

    /// Around panels for `out` outputs.
    pub(crate) fn from_panels(panels: Tensor<3>, out: usize) -> Self {
        Self { weight: LinearWeight::Panels { panels, out }, adapters: Vec::new() }
    }

    /// Adds an adapter of rows below those of the adapters before it.
    ///
    /// # Panics
    ///
    /// If its rows don't lie below.
    pub fn adapt(&mut self, adapter: Adapter) {
        let end = |adapter: &Adapter| adapter.first_row + adapter.b.dims()[0];
        assert!(self.adapters.last().is_none_or(|last| end(last) <= adapter.first_row));
        assert!(end(&adapter) <= self.shape()[0], "rows that the matrix does not have");
        self.adapters.push(adapter);
    }

    /// What the adapters add to `x · Wᵀ`.
    fn adaptation(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        let (rows, device) = (x_rd.dims()[0], x_rd.device().inner());
        let mut parts = Vec::new();
        let mut column = 0;
        let fill = |parts: &mut Vec<Tensor<2>>, column: usize, to: usize| {
            if to > column {
                parts.push(Tensor::zeros([rows, to - column], (&device, x_rd.dtype())));
            }
        };
        for Adapter { first_row, a, b, scale } in &self.adapters {
            fill(&mut parts, column, *first_row);
            let inner = Self::from_tensor(a.clone()).forward(x_rd);
            parts.push(Self::from_tensor(b.clone()).forward(&inner) * *scale);
            column = first_row + b.dims()[0];
        }
        fill(&mut parts, column, self.shape()[0]);
        Tensor::cat(parts, 1)
    }

    /// The weight as `[out, in]`, without adapters, copied if it is packed.
    pub fn to_tensor(&self) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => weight.clone(),
            LinearWeight::Panels { panels, out } => {
                let [_, inner, _] = panels.dims();
                let rows: Vec<u32> = (0..u32::try_from(*out).expect("fits token ids")).collect();
                self.rows(&rows).reshape([*out, inner])
            }
        }
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        match &self.weight {
            LinearWeight::Rows(weight) => weight.dims(),
            LinearWeight::Panels { panels, out } => [*out, panels.dims()[1]],
        }
    }

    /// `x · Wᵀ`, and what the adapters add.
    ///
    /// # Shapes
    ///
    /// `[r, in]` to `[r, out]`.
    pub fn forward(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        let y = self.product(x_rd);
        if self.adapters.is_empty() { y } else { y + self.adaptation(x_rd) }
    }

    fn product(&self, x_rd: &Tensor<2>) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => gradients::linear(x_rd, weight)
                .unwrap_or_else(|| x_rd.clone().matmul(weight.clone().transpose())),
            LinearWeight::Panels { panels, out } => {
                if let Some(y) = gradients::frozen_linear(x_rd, panels, *out) {
                    return y;
                }
                let [rows, inner] = x_rd.dims();
                let flex = on_cpu(x_rd).expect("packed weights are used with CPU tensors only");
                let flex = if rows_of(&flex).is_some() { flex } else { flex.to_contiguous() };
                let x = rows_of(&flex).expect("contiguous rows are dense");
                let panels = on_cpu(panels).expect("packed weights are CPU tensors");
                let data = kernels::product(x, panels_view(&panels, *out, inner));
                from_vec(data, [rows, *out], 0)
            }
        }
    }

    /// Rows `ids` of the weight, as an embedding reads them.
    ///
    /// # Shapes
    ///
    /// `[ids, in]`.
    pub fn rows(&self, ids: &[u32]) -> Tensor<2> {
        match &self.weight {
            LinearWeight::Rows(weight) => {
                let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
                let data = TensorData::new(ids.clone(), [ids.len()]);
                weight.clone().select(0, Tensor::from_data(data, &weight.device()))
            }
            LinearWeight::Panels { panels, out } => {
                let inner = panels.dims()[1];
                let panels = on_cpu(panels).expect("packed weights are CPU tensors");
                filled_rows(ids.len(), inner, |rows| {
                    let view = panels_view(&panels, *out, inner);
                    for (row, id) in ids.iter().enumerate() {
                        // SAFETY: one task writes all rows, one after the other.
                        view.copy_row(*id as usize, unsafe { rows.slice(row, 0, inner) });
                    }
                })
            }
        }
    }
}

pub(crate) fn panels_view(panels: &FlexTensor, out: usize, inner: usize) -> PanelsView<'_> {
    let len = out.div_ceil(LANES) * inner * LANES;
    let data = &panels.storage::<f32>()[panels.layout().start_offset()..];
    PanelsView::new(&data[..len], out, inner)
}

/// `x / sqrt(mean(x²) + eps) · weight` for every row.
///
/// # Shapes
///
/// `[r, d]`, `[d]` to `[r, d]`.
pub fn rms_norm(x_rd: &Tensor<2>, weight_d: &Tensor<1>, eps: f64) -> Tensor<2> {
    if let (Some(x), Some(weight)) = (on_cpu(x_rd), on_cpu(weight_d))
        && let (Some(x), true) = (rows_of(&x), weight.is_contiguous())
    {
        let offset = weight.layout().start_offset();
        let weight = &weight.storage::<f32>()[offset..][..x.cols()];
        return filled_rows(x.rows(), x.cols(), |out| {
            kernels::rms_norm(Isa::best(), x, weight, eps as f32, out);
        });
    }
    let made = gradients::rms_norm(x_rd, weight_d, eps);
    if let Some(y) = made.or_else(|| cube_kernels::rms_norm(x_rd, weight_d, eps)) {
        return y;
    }
    let wide_rd = widened(x_rd.clone());
    let mean_r1 = wide_rd.clone().powi_scalar(2).mean_dim(1);
    let scale_r1 = (mean_r1 + eps).sqrt().recip();
    (wide_rd * scale_r1 * weight_d.clone().unsqueeze()).cast(x_rd.dtype())
}

/// Angles of the rotary embedding for the rows of a batch.
#[derive(Clone, Debug)]
pub struct RopeAngles {
    /// `[r, head_dim / 2]`.
    pub cos: Tensor<2>,
    /// `[r, head_dim / 2]`.
    pub sin: Tensor<2>,
}

impl RopeAngles {
    /// The angles `position · frequency`, in single precision as the reference computes them.
    pub fn new(positions: &[u32], frequencies: &[f32], device: &burn::tensor::Device) -> Self {
        let shape = [positions.len(), frequencies.len()];
        let angles =
            positions.iter().flat_map(|p| frequencies.iter().map(|f| f64::from(*p as f32 * f)));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| {
                let (sin, cos) = angle.sin_cos();
                (sin as f32, cos as f32)
            })
            .unzip();
        Self {
            cos: Tensor::from_data(TensorData::new(cos, shape), device),
            sin: Tensor::from_data(TensorData::new(sin, shape), device),
        }
    }
}

/// Rotates the two halves of every head of every row.
///
/// # Shapes
///
/// `[r, heads · head_dim]` to the same.
pub fn rope(x_rd: &Tensor<2>, angles: &RopeAngles) -> Tensor<2> {
    if let (Some(x), Some(cos), Some(sin)) =
        (on_cpu(x_rd), on_cpu(&angles.cos), on_cpu(&angles.sin))
        && let (Some(x), Some(cos), Some(sin)) = (rows_of(&x), rows_of(&cos), rows_of(&sin))
    {
        return filled_rows(x.rows(), x.cols(), |out| {
            kernels::rope(Isa::best(), x, cos, sin, out);
        });
    }
    let made = gradients::rope(x_rd, angles);
    if let Some(y) = made.or_else(|| cube_kernels::rope(x_rd, angles)) {
        return y;
    }
    let [rows, cols] = x_rd.dims();
    let half = angles.cos.dims()[1];
    let x_rhd = x_rd.clone().reshape([rows, cols / (2 * half), 2 * half]);
    let cos_r1h = angles.cos.clone().cast(x_rd.dtype()).reshape([rows, 1, half]);
    let sin_r1h = angles.sin.clone().cast(x_rd.dtype()).reshape([rows, 1, half]);
    let first = x_rhd.clone().narrow(2, 0, half);
    let second = x_rhd.narrow(2, half, half);
    let rotated = [
        first.clone() * cos_r1h.clone() - second.clone() * sin_r1h.clone(),
        second * cos_r1h + first * sin_r1h,
    ];
    Tensor::cat(rotated.to_vec(), 2).reshape([rows, cols])
}

/// `x + y`, as the residual stream takes in what a block adds to it.
///
/// # Shapes
///
/// `[r, d]` and `[r, d]` to the same.
pub fn add(x_rd: Tensor<2>, y_rd: Tensor<2>) -> Tensor<2> {
    if let (Some(x), Some(y)) = (on_cpu(&x_rd), on_cpu(&y_rd))
        && let (Some(x), Some(y)) = (rows_of(&x), rows_of(&y))
    {
        return filled_rows(x.rows(), x.cols(), |out| kernels::add(Isa::best(), x, y, out));
    }
    x_rd + y_rd
}

/// `activation(gate) · up` of rows that hold gate, then up.
///
/// # Shapes
///
/// `[r, 2 d]` to `[r, d]`.
pub fn gated(gate_up: &Tensor<2>, activation: Activation) -> Tensor<2> {
    let width = gate_up.dims()[1] / 2;
    if let Some(flex) = on_cpu(gate_up)
        && let Some(x) = rows_of(&flex)
    {
        return filled_rows(x.rows(), width, |out| kernels::gated(Isa::best(), activation, x, out));
    }
    let made = gradients::gated(gate_up, activation);
    if let Some(y) = made.or_else(|| cube_kernels::gated(gate_up, activation)) {
        return y;
    }
    let gate = gate_up.clone().narrow(1, 0, width);
    let gate = match activation {
        Activation::Silu => burn::tensor::activation::silu(gate),
        Activation::GeluTanh => burn::tensor::activation::gelu_approximate(gate),
    };
    gate * gate_up.clone().narrow(1, width, width)
}

/// The log-probabilities of `targets` under a head, and the entropy (in nats) of each row's
/// distribution.
///
/// # Shapes
///
/// `[r, d]` to `[r]` and `r` numbers.
pub fn token_logprobs(
    hidden: &Tensor<2>,
    head: &Linear,
    targets: &Targets,
) -> (Tensor<1>, Vec<f32>) {
    if hidden.is_autodiff() {
        let weight = head.to_tensor();
        let on_cpu = gradients::token_logprobs(hidden, &weight, targets);
        if let Some(found) = on_cpu.or_else(|| device::token_logprobs(hidden, &weight, targets)) {
            return found;
        }
    }
    let [vocab, _] = head.shape();
    let at_once = gradients::rows_at_once(targets.len(), vocab);
    let parts = (0..targets.len()).step_by(at_once).map(|first| {
        let part = targets.part(first..(first + at_once).min(targets.len()));
        let rows = hidden.clone().narrow(0, first, part.len());
        plain_token_logprobs(widened(head.forward(&rows)), &part)
    });
    let (logprobs, entropies): (Vec<_>, Vec<_>) = parts.unzip();
    match logprobs.is_empty() {
        true => plain_token_logprobs(widened(head.forward(hidden)), targets),
        false => (Tensor::cat(logprobs, 0), entropies.concat()),
    }
}

/// In single precision if it was in a narrower format: for sums of many numbers.
pub(crate) fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    }
}

/// The same from logits `[r, v]`, in burn operations.
pub fn plain_token_logprobs(logits: Tensor<2>, targets: &Targets) -> (Tensor<1>, Vec<f32>) {
    let logprobs = burn::tensor::activation::log_softmax(targets.shaped(logits), 1);
    let bare = logprobs.clone().without_autodiff();
    let entropies = (bare.clone().exp() * bare).sum_dim(1).neg();
    let index = targets.index_n1(&logprobs.device().inner());
    (logprobs.gather(1, index).reshape([targets.len()]), to_vec(entropies))
}

/// `sum += x`, in place.
fn add_to(sum: &mut [f32], x: &[f32]) {
    kernels::add_to(Isa::best(), sum, x);
}

/// Adds a gradient to a sum of gradients; an empty one stands for zeros.
pub fn add_gradient(sum: &mut Vec<f32>, gradient: Vec<f32>) {
    if sum.is_empty() {
        *sum = gradient;
    } else if !gradient.is_empty() {
        add_to(sum, &gradient);
    }
}

/// Numbers of rows as burn's indices.
pub(crate) fn indices(numbers: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let index = |number: &usize| i64::try_from(*number).expect("tables have fewer rows");
    let numbers: Vec<i64> = numbers.iter().map(index).collect();
    let shape = [numbers.len()];
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// The numbers of a tensor, row by row.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("the numbers were just converted")
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        let device = burn::tensor::Device::flex();
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device)
    }

    /// The same tensor in double precision, for which there are no kernels.
    fn plain<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
        tensor.clone().cast(DType::F64)
    }

    fn largest_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        let (a, b) = (to_vec(a), to_vec(b));
        a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn every_kernel_agrees_with_plain_burn() {
        let x = random([5, 96]);
        let weight = random([40, 96]);
        let packed = Linear::packed(&to_vec(weight.clone()), 40, 96);
        let plain_linear = Linear::from_tensor(plain(&weight));
        let difference = largest_difference(packed.forward(&x), plain_linear.forward(&plain(&x)));
        assert!(difference < 1e-4, "linear: {difference}");
        assert_eq!(to_vec(packed.to_tensor()), to_vec(weight.clone()));
        assert_eq!(to_vec(packed.rows(&[3, 39])), to_vec(plain_linear.rows(&[3, 39])));

        let norm = random([96]);
        let difference = largest_difference(
            rms_norm(&x, &norm, 1e-5),
            rms_norm(&plain(&x), &plain(&norm), 1e-5),
        );
        assert!(difference < 1e-5, "norm: {difference}");

        let sum = add(x.clone(), x.clone());
        assert_eq!(to_vec(sum), to_vec(plain(&x) + plain(&x)));

        for activation in [Activation::Silu, Activation::GeluTanh] {
            let difference =
                largest_difference(gated(&x, activation), gated(&plain(&x), activation));
            assert!(difference < 1e-5, "{activation:?}: {difference}");
        }

        let frequencies: Vec<f32> = (0..16).map(|i| 1.0 / (i + 1) as f32).collect();
        let positions = [0, 1, 7, 100, 5];
        let angles = RopeAngles::new(&positions, &frequencies, &x.device());
        let plain_angles = RopeAngles { cos: plain(&angles.cos), sin: plain(&angles.sin) };
        let difference = largest_difference(rope(&x, &angles), rope(&plain(&x), &plain_angles));
        assert!(difference < 1e-5, "rope: {difference}");
    }

    #[test]
    fn kernels_read_views_without_copying_first() {
        let x = random([6, 64]);
        let view = x.clone().narrow(1, 16, 32);
        let copy: Tensor<2> = Tensor::from_data(view.to_data(), &x.device());
        let silu = |x| to_vec(gated(x, Activation::Silu));
        assert_eq!(silu(&view), silu(&copy));
    }
}
