//! Where models come from.

use std::collections::BTreeMap;

use preceptor_core::{Generator, ModelIdentity};
use preceptor_files::{Files, SamplingDefaults};
use preceptor_models::{Device, GenerationOptions, LocalModel, Model};

use crate::Error;

/// Gives models by the name that manifests use.
pub trait ModelHost {
    /// Which model `name` is.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such model here.
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error>;

    /// The sampling its authors recommend.
    fn sampling_defaults(&self, name: &str) -> SamplingDefaults;

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// [`Error`] if it can't be loaded.
    fn open(&mut self, name: &str) -> Result<Box<dyn Generator>, Error>;
}

/// Models that run in this process.
#[derive(Debug)]
pub struct LocalModels {
    files: Files,
    device: Device,
    options: GenerationOptions,
    identities: BTreeMap<String, ModelIdentity>,
    /// The model that was loaded last: what was loaded to be identified is not loaded again.
    loaded: Option<(String, Model)>,
}

impl LocalModels {
    /// Models found through `files`, run on `device`.
    pub fn new(files: Files, device: Device, options: GenerationOptions) -> Self {
        Self { files, device, options, identities: BTreeMap::new(), loaded: None }
    }

    fn take(&mut self, name: &str) -> Result<Model, Error> {
        match self.loaded.take() {
            Some((loaded, model)) if loaded == name => Ok(model),
            _ => {
                let located = self.files.model(name)?;
                Ok(Model::load(&located.path, &self.device)?)
            }
        }
    }
}

impl ModelHost for LocalModels {
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error> {
        if let Some(identity) = self.identities.get(name) {
            return Ok(identity.clone());
        }
        let model = self.take(name)?;
        let identity = model.identity().clone();
        self.loaded = Some((name.to_owned(), model));
        self.identities.insert(name.to_owned(), identity.clone());
        Ok(identity)
    }

    fn sampling_defaults(&self, name: &str) -> SamplingDefaults {
        self.files.registry().models.get(name).map(|entry| entry.sampling).unwrap_or_default()
    }

    fn open(&mut self, name: &str) -> Result<Box<dyn Generator>, Error> {
        let model = self.take(name)?;
        Ok(Box::new(LocalModel::new(model, self.options)))
    }
}
