//! Where a decoder's weights come from.

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
    /// that can't be read, [`Error::Malformed`] where the data is cut off.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;
}
