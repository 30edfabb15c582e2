//! The norms of a layer.

use burn::tensor::Tensor;

use crate::Error;

/// A norm of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Its name in a layer of a checkpoint, for example `input_layernorm`.
    pub name: &'static str,
    /// True for a norm of heads, false for a norm of hidden states.
    pub is_per_head: bool,
    /// Its position in lists of weights.
    pub slot: Slot,
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

impl Norm {
    /// Creates a norm of hidden states.
    pub const fn hidden(name: &'static str, slot: Slot) -> Self {
        Self { name, is_per_head: false, slot }
    }

    /// Creates a norm of heads.
    pub const fn head(name: &'static str, slot: Slot) -> Self {
        Self { name, is_per_head: true, slot }
    }
}

/// The norms of a family's layer, declared with `layer_norms!`.
pub trait LayerNorms: Clone + Send + Sync + 'static {
    /// Loads the weight of each norm, in the order of declaration.
    ///
    /// # Errors
    ///
    /// The first error of `load`.
    fn load(load: impl FnMut(&Norm) -> Result<Tensor<1>, Error>) -> Result<Self, Error>;

    /// Returns the norms with their weights, in the order of declaration.
    fn weights_mut(&mut self) -> Vec<(Norm, &mut Tensor<1>)>;
}

/// Declares the norms of a layer: a field for each, with its name in checkpoints and its slot.
macro_rules! layer_norms {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($field:ident: $kind:ident($hf_name:literal, $slot:ident),)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $(
                #[doc = concat!("The weight of `", $hf_name, "`.")]
                pub $field: burn::tensor::Tensor<1>,
            )*
        }

        impl $crate::decoder::norms::LayerNorms for $name {
            fn load(
                mut load: impl FnMut(
                    &$crate::decoder::norms::Norm,
                ) -> Result<burn::tensor::Tensor<1>, $crate::Error>,
            ) -> Result<Self, $crate::Error> {
                use $crate::decoder::norms::{Norm, Slot};
                Ok(Self { $($field: load(&Norm::$kind($hf_name, Slot::$slot))?,)* })
            }

            fn weights_mut(
                &mut self,
            ) -> Vec<($crate::decoder::norms::Norm, &mut burn::tensor::Tensor<1>)> {
                use $crate::decoder::norms::{Norm, Slot};
                vec![$((Norm::$kind($hf_name, Slot::$slot), &mut self.$field),)*]
            }
        }
    };
}

pub(crate) use layer_norms;
