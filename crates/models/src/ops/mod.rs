//! The operations of a decoder, one folder or file per operation.
//!
//! An operation picks its implementation by the device of its inputs:
//!
//! 1. CPU tensors in single precision: `cpu.rs`, a kernel on the tensors' storage. Under autodiff it is
//!    recorded as one node with a hand-written gradient.
//! 2. GPU tensors: `gpu.rs`, written with CubeCL, with its gradient.
//! 3. Everything else: the same formula in burn operations. It is the reference of both kernels.
//!
//! Shapes: `r` rows (tokens of all sequences), `d` values per row.

mod add;
pub(crate) mod autodiff_node;
mod convert;
pub(crate) mod cpu_support;
mod gated;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) mod gpu_support;
mod linear;
mod rms_norm;
mod rope;
mod token_logprobs;

pub(crate) use add::{add, add_bias, add_gradient, add_to_chunk};
pub use convert::to_vec;
pub(crate) use convert::{indices, widen};
pub use gated::Activation;
pub(crate) use gated::gated;
pub use linear::{Adapter, Linear};
pub(crate) use rms_norm::rms_norm;
pub use rope::RopeAngles;
pub(crate) use rope::rope;
pub use token_logprobs::Targets;
pub(crate) use token_logprobs::{plain_token_logprobs, shape_row, token_logprobs};
