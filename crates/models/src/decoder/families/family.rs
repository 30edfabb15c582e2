//! The interface of a family.

use crate::decoder::interface::Decoder;
use crate::format::{GgufFile, HfWeights, JsonFile};
use crate::{Device, Error};

/// A family of decoder models.
pub trait Family: Sync {
    /// Returns `model_type` in a Hugging Face configuration, `general.architecture` in GGUF.
    fn name(&self) -> &'static str;

    /// Returns other values of `model_type`.
    fn other_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns a summary in one line.
    fn summary(&self) -> &'static str;

    /// Loads a decoder from a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// See [`Error`] for configurations and weights that are incomplete or not supported.
    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error>;

    /// Loads a decoder from a GGUF file.
    ///
    /// # Errors
    ///
    /// See [`Error`] for metadata and weights that are incomplete or not supported.
    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error>;
}
