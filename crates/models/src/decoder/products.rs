//! The matrix products of a layer.

/// The four products of a layer.
#[derive(Clone, Debug)]
pub struct Products<T> {
    /// Queries, keys and values, `[(heads + 2 · kv_heads) · h, d]`.
    pub qkv: T,
    /// Output of attention, `[d, heads · h]`.
    pub output: T,
    /// Gate and up, `[2 · intermediate, d]`.
    pub gate_up: T,
    /// Back to the hidden size, `[d, intermediate]`.
    pub down: T,
}

/// The matrices of a checkpoint that are stacked on one another in a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductParts {
    /// Their names with their numbers of rows, from the top.
    pub parts: Vec<(String, usize)>,
    /// The number of columns.
    pub inner: usize,
}

impl ProductParts {
    /// Returns the number of rows of all matrices.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows).sum()
    }
}
