//! The tables of a report, one file each.

mod breakdown;
mod measures;
mod rollouts;
mod scores;

pub(crate) use breakdown::breakdown;
pub(crate) use measures::measures;
pub(crate) use rollouts::rollouts;
pub(crate) use scores::scores;
