//! Building blocks that the CPU kernels of several operations share.
//!
//! Two rules make a result independent of the other sequences of a batch, of tiling, of the number of
//! threads and of the instruction set:
//!
//! 1. every output element is **one chain** of fused multiply-adds in a fixed order;
//! 2. every row is computed from that row only.
//!
//! So kernels may block, split and vectorise without changing a bit. Only IEEE
//! operations are used (add, multiply, fused multiply-add, divide, square root); the exponential is
//! our own polynomial. Each operation compares its kernel with the same formula in burn operations;
//! see [`crate::ops`] and [`crate::attention`].

mod exp;
mod gemm;
mod isa;
mod lanes;
mod log_sum_exp;
mod panels;
mod parallel;

pub(crate) use exp::exp_f32;
pub(crate) use gemm::{PanelProduct, product};
pub(crate) use isa::{Isa, per_isa};
pub(crate) use lanes::{LANES, sum_lanes};
pub(crate) use log_sum_exp::{LogSumExp, log_sum_exp, weights_at_temperature};
pub(crate) use panels::{PackedMatrix, PanelsView, pack_rows};
pub(crate) use parallel::{RowsMut, RowsRef, TASK_SIZE, for_each_row, for_each_task, transpose};
