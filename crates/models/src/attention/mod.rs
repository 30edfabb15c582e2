//! Attention and the caches of keys and values.
//!
//! A forward pass reads rows: tokens of any number of sequences, packed. Everything but attention
//! works row by row. Attention asks an [`Attend`], which knows the sequences of the rows:
//! [`SegmentAttention`] in training, where every sequence is whole in the pass, and a [`KvCache`] in
//! sampling. Each has an implementation for our CPU kernels (`cpu/`), one for GPUs and one in plain burn.

mod cache;
mod causal;
mod cpu;
mod cpu_cache;
mod padded;
mod padded_layout;
mod segment;
mod segments;
mod shape;
mod slot_cache;
mod softmax;
mod tensor_cache;

pub use cache::{KvCache, SequenceId, Span};
pub use cpu_cache::CpuKvCache;
pub use segment::Segment;
pub use segments::SegmentAttention;
pub use shape::{Attend, AttentionShape};
pub use slot_cache::SlotKvCache;
pub use tensor_cache::TensorKvCache;
