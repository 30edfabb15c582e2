//! Upper bounds that see labels. They are no methods: every table and page marks them.

pub mod best_of_group;

pub use best_of_group::BestOfGroup;
