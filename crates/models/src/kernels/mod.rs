//! Fused operations on plain `f32` slices, for the CPU.
//!
//! Two rules make a result independent of who shares a batch, of tiling, of the number of threads
//! and of the instruction set:
//!
//! 1. every output element is **one chain** of fused multiply-adds in a fixed order;
//! 2. every row is computed from that row alone.
//!
//! So the kernels may block, split and vectorise as they like without moving a bit. Only IEEE
//! operations are used (add, multiply, fused multiply-add, divide, square root); the exponential is
//! our own polynomial. The same burn operations stand beside each kernel as its reference, see
//! [`crate::ops`].

mod attention;
mod attention_backward;
mod elementwise;
mod elementwise_backward;
mod exp;
mod gemm;
mod isa;
mod panels;
mod parallel;
mod softmax;

pub(crate) use attention::{AttentionTask, KeyValueRun, attend_tile};
pub(crate) use attention_backward::{
    AttentionGradients, AttentionInputs, Family, HeadGroup, Part, attend_backward,
};
pub use elementwise::Activation;
pub(crate) use elementwise::{add, add_to, gated, rms_norm, rope};
pub(crate) use elementwise_backward::{gated_backward, rms_norm_backward, softmax_backward};
pub(crate) use gemm::product;
pub(crate) use isa::Isa;
pub(crate) use panels::{LANES, Packed, PanelsView, pack_rows};
pub(crate) use parallel::{RowsMut, RowsRef, for_each_task, transpose};
pub(crate) use softmax::{LogSumExp, log_sum_exp, log_sum_exps, weights_at_temperature};
