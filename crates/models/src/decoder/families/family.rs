//! The interface of a family.

use crate::decoder::interface::Decoder;
use crate::format::{GgufFile, HfWeights, JsonFile};
use crate::{Device, Error};

/// Knows how to build the decoders of one family.
pub trait Family: Sync {
    /// `model_type` in a Hugging Face configuration, `general.architecture` in GGUF.
    fn name(&self) -> &'static str;

    /// Other values of `model_type`.
    fn other_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// One line for people.
    fn summary(&self) -> &'static str;

    /// From a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// What the configuration or the weights lack.
    fn load_folder(
        &self,
        config: &JsonFile,
        weights: &HfWeights,
        device: &Device,
    ) -> Result<Box<dyn Decoder>, Error>;

    /// From a GGUF file.
    ///
    /// # Errors
    ///
    /// What the metadata or the weights lack.
    fn load_gguf(&self, file: &GgufFile, device: &Device) -> Result<Box<dyn Decoder>, Error>;
}
