//! Tensors from named weights, with a record of the names read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use burn::tensor::{Tensor, TensorData};

use crate::format::WeightSource;
use crate::ops::Linear;
use crate::{Device, Error};

/// Loads weights as tensors.
pub(crate) struct Loader<'a> {
    weights: &'a dyn WeightSource,
    device: &'a Device,
    /// The names read so far.
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(weights: &'a dyn WeightSource, device: &'a Device) -> Self {
        Self { weights, device, read: RefCell::default() }
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let numbers = self.weights.read(name, shape)?;
        self.read.borrow_mut().insert(name.to_owned());
        Ok(numbers)
    }

    /// Loads matrices stacked on one another, each with its name and number of rows.
    pub(crate) fn linear(&self, parts: &[(String, usize)], inner: usize) -> Result<Linear, Error> {
        let mut all = Vec::new();
        for (name, out) in parts {
            let part = self.numbers(name, &[*out, inner])?;
            if all.is_empty() {
                all = part;
            } else {
                all.extend(part);
            }
        }
        let out = parts.iter().map(|(_, out)| out).sum();
        Ok(if self.device.has_kernels() {
            Linear::packed(&all, out, inner)
        } else {
            let data = TensorData::new(all, [out, inner]);
            let options = (self.device.burn(), self.device.format());
            Linear::from_tensor(Tensor::from_data(data, options))
        })
    }

    /// Loads a vector.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>, Error> {
        let data = TensorData::new(self.numbers(name, &[len])?, [len]);
        Ok(Tensor::from_data(data, self.device.burn()))
    }

    /// Rejects two tensors that differ although the configuration ties them.
    pub(crate) fn check_equal(&self, name: &str, tied: &str, shape: &[usize]) -> Result<(), Error> {
        if self.numbers(name, shape)? == self.numbers(tied, shape)? {
            return Ok(());
        }
        Err(Error::Unsupported {
            path: self.weights.path().to_owned(),
            what: format!("the tensor `{name}` beside"),
            found: "tie_word_embeddings".to_owned(),
            allowed: format!("one that equals `{tied}`"),
            hint: "the configuration may belong to other weights",
        })
    }

    /// Rejects weights that were not read, since they would change the output of the model.
    pub(crate) fn check_all_read(&self) -> Result<(), Error> {
        match self.weights.first_unread(&self.read.borrow()) {
            None => Ok(()),
            Some(found) => Err(Error::Unsupported {
                path: self.weights.path().to_owned(),
                what: "the tensor".to_owned(),
                found,
                allowed: "those of the layers that this family implements".to_owned(),
                hint: "it may be a bias, an additional layer, or belong to another model",
            }),
        }
    }
}
