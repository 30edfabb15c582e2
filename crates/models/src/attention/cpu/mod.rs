//! Attention kernels of the CPU, and attention of a training pass with them.

mod backward;
mod forward;
mod head_store;
mod node;
mod spans;

pub(super) use forward::KeyValueRun;
pub(super) use head_store::HeadStore;
pub(super) use node::attend;
pub(super) use spans::attend_spans;
