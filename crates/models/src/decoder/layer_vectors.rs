//! The vectors of a layer: weights of norms, and biases.

use burn::tensor::Tensor;

use super::sizes::Sizes;
use crate::Error;

/// A vector of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerVector {
    /// Its name in a layer of a checkpoint, for example `input_layernorm.weight`.
    pub name: &'static str,
    /// Its length.
    pub width: Width,
    /// Its position in lists of weights.
    pub slot: Slot,
}

impl LayerVector {
    /// Creates a vector of that name and length.
    pub const fn new(name: &'static str, width: Width, slot: Slot) -> Self {
        Self { name, width, slot }
    }
}

/// The length of a layer's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The hidden size: a norm of hidden states.
    Hidden,
    /// The size of a head: a norm of each head.
    Head,
    /// All query heads: a bias of the queries.
    Queries,
    /// All key heads, which are as many as the value heads: a bias of the keys or the values.
    Keys,
}

impl Width {
    /// Returns the number of values.
    pub fn len(self, sizes: &Sizes) -> usize {
        match self {
            Self::Hidden => sizes.hidden_size,
            Self::Head => sizes.head_dim,
            Self::Queries => sizes.q_width(),
            Self::Keys => sizes.kv_width(),
        }
    }
}

/// A position among the products of a layer, in lists of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Before queries, keys and values.
    BeforeQkv,
    /// Before the output of attention.
    BeforeOutput,
    /// Before gate and up.
    BeforeGateUp,
    /// Before the product back to the hidden size.
    BeforeDown,
    /// After all products.
    AfterDown,
}

/// The vectors of a family's layer, declared with `layer_vectors!`.
pub trait LayerVectors: Clone + Send + Sync + 'static {
    /// Loads each vector, in the order of declaration.
    ///
    /// # Errors
    ///
    /// The first error of `load`.
    fn load(load: impl FnMut(&LayerVector) -> Result<Tensor<1>, Error>) -> Result<Self, Error>;

    /// Returns the vectors with their tensors, in the order of declaration.
    fn tensors_mut(&mut self) -> Vec<(LayerVector, &mut Tensor<1>)>;
}

/// Declares the vectors of a layer: a field for each, with its name in checkpoints, its width and its
/// slot.
macro_rules! layer_vectors {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($field:ident: $width:ident($hf_name:literal, $slot:ident),)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $(
                #[doc = concat!("The vector `", $hf_name, "`.")]
                pub $field: burn::tensor::Tensor<1>,
            )*
        }

        impl $crate::decoder::layer_vectors::LayerVectors for $name {
            fn load(
                mut load: impl FnMut(
                    &$crate::decoder::layer_vectors::LayerVector,
                ) -> Result<burn::tensor::Tensor<1>, $crate::Error>,
            ) -> Result<Self, $crate::Error> {
                use $crate::decoder::layer_vectors::{LayerVector, Slot, Width};
                Ok(Self {
                    $($field: load(&LayerVector::new($hf_name, Width::$width, Slot::$slot))?,)*
                })
            }

            fn tensors_mut(
                &mut self,
            ) -> Vec<($crate::decoder::layer_vectors::LayerVector, &mut burn::tensor::Tensor<1>)> {
                use $crate::decoder::layer_vectors::{LayerVector, Slot, Width};
                vec![$((LayerVector::new($hf_name, Width::$width, Slot::$slot), &mut self.$field),)*]
            }
        }
    };
}

pub(crate) use layer_vectors;
