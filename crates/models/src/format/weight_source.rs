//! Where a decoder's weights come from.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Error;

/// Named tensors in a file or folder.
pub trait WeightSource {
    /// The file or folder, for messages.
    fn path(&self) -> &Path;

    /// Whether there is a tensor of that name.
    fn contains(&self, name: &str) -> bool;

    /// The numbers of a tensor, the last dimension dense.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`], [`Error::TensorShape`], [`Error::Unsupported`] for a number type
    /// that can't be read, [`Error::Malformed`] where the data is cut off, [`Error::NotFinite`].
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;

    /// The source's own name of a tensor that changes the computation and is not among `read`, the
    /// names that were handed to [`Self::read`].
    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String>;
}

/// Returns the numbers of a tensor if none is NaN or infinite.
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
