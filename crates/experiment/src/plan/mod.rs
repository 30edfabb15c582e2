//! Plans: cells with every value explicit, the stages that hold their records, and what is missing of
//! them.

pub(crate) mod cell;
pub(crate) mod counting;
pub(crate) mod course;
pub(crate) mod estimate;
pub(crate) mod held_weights;
pub(crate) mod price;
pub(crate) mod price_training;
pub(crate) mod resolved;
pub(crate) mod spending;
pub(crate) mod stages;
pub(crate) mod status;
pub(crate) mod training;
pub(crate) mod units;
