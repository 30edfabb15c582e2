//! Pairs of labels and answers of the kinds that rollouts write, with what is right.

mod numbers;
mod shapes;

pub(crate) use numbers::NUMBERS;
pub(crate) use shapes::SHAPES;

/// Pairs of one kind, label first. All but the [`super`] test's exceptions hold in both orders.
pub(crate) struct Pairs {
    /// The kind, for messages.
    pub(crate) kind: &'static str,
    /// Pairs of one value.
    pub(crate) equal: &'static [(&'static str, &'static str)],
    /// Pairs of two values.
    pub(crate) different: &'static [(&'static str, &'static str)],
}
