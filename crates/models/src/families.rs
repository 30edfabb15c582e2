//! The list of model families: a family is one file and one line here.

use crate::device::Device;
use crate::gguf::GgufFile;
use crate::hf_folder::{HfWeights, JsonFile};
use crate::llama::LlamaFamily;
use crate::{Decoder, Error};

/// Knows how to build the decoders of one family.
pub trait Family: Sync {
    /// `model_type` in a Hugging Face configuration, `general.architecture` in GGUF.
    fn name(&self) -> &'static str;

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

/// All families.
pub static FAMILIES: &[&dyn Family] = &[&LlamaFamily];

/// The family of that name.
pub(crate) fn find(path: &std::path::Path, name: &str) -> Result<&'static dyn Family, Error> {
    FAMILIES.iter().copied().find(|family| family.name() == name).ok_or_else(|| {
        Error::Unsupported {
            path: path.to_owned(),
            what: "the architecture".to_owned(),
            found: name.to_owned(),
            allowed: FAMILIES.iter().map(|f| format!("`{}`", f.name())).collect::<Vec<_>>().join(", "),
            hint: "a family is one file in the models crate; other models can be asked through an endpoint",
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FAMILIES;

    #[test]
    fn names_are_unique_and_explained() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name()).collect();
        assert_eq!(names.len(), FAMILIES.len());
        assert!(FAMILIES.iter().all(|family| !family.summary().is_empty()));
    }
}
