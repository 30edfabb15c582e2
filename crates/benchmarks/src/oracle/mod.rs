//! Upper bounds that see labels. They are no methods: every table and page marks them.

pub mod best_of_group;
pub mod ground_truth;
pub mod physician_rubric;

pub use best_of_group::BestOfGroup;
pub use ground_truth::GroundTruth;
pub use physician_rubric::PhysicianRubric;
