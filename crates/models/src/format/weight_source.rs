//! The interface of files with weights.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Error;

/// Named tensors in a file or folder.
pub trait WeightSource {
    /// Returns the file or folder, for messages.
    fn path(&self) -> &Path;

    /// Returns true if there is a tensor of that name.
    fn contains(&self, name: &str) -> bool;

    /// Reads the values of a tensor in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`], [`Error::TensorShape`], [`Error::Unsupported`] for a number type
    /// that can't be read, [`Error::Malformed`] for truncated data, [`Error::NotFinite`].
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;

    /// Finds a tensor that changes the output and is not among `read`, the names passed to
    /// [`Self::read`]. Returns the source's own name of it.
    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String>;
}

/// Returns the values of a tensor if none is NaN or infinite.
///
/// # Errors
///
/// [`Error::NotFinite`].
pub(crate) fn check_finite(path: &Path, tensor: &str, values: Vec<f32>) -> Result<Vec<f32>, Error> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::NotFinite {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            index,
            value: values[index],
        }),
    }
}
