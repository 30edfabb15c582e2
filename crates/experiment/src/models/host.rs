//! Local models and endpoints by name.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use preceptor_core::{Digest, LanguageModel, ModelIdentity, Usage};
use preceptor_endpoints::{Config as EndpointConfig, Endpoint};
use preceptor_files::{Error as FilesError, Files, SamplingDefaults};
use preceptor_models::{ChatTemplate, Device, GenerationOptions, LocalModel, Model};

use crate::Error;
use crate::manifest::read::nearest;
use crate::models::directory::ModelDirectory;
use crate::models::loader::ModelLoader;

/// Models of this process, and endpoints.
#[derive(Debug)]
pub struct Models {
    files: Files,
    devices: Vec<Device>,
    options: GenerationOptions,
    endpoint_configs: BTreeMap<String, EndpointConfig>,
    identities: BTreeMap<String, ModelIdentity>,
    /// Numbers of weights.
    sizes: BTreeMap<String, u64>,
    /// Models whose chat template has a switch for thinking.
    thinkers: BTreeSet<String>,
    /// The model that was loaded to be identified is not loaded again to be used.
    loaded: Option<(String, Model)>,
    /// Registered models without files here that a plan was made with; none where they are refused.
    absent: Option<BTreeSet<String>>,
    /// Open endpoints: what one has spent counts for as long as the process lives.
    endpoints: BTreeMap<String, Rc<Endpoint>>,
}

impl Models {
    /// Models found through `files`, run on `devices`, at least one, and `endpoints` by name, which win.
    pub fn new(
        files: Files,
        devices: Vec<Device>,
        options: GenerationOptions,
        endpoints: BTreeMap<String, EndpointConfig>,
    ) -> Self {
        Self {
            files,
            devices,
            options,
            endpoint_configs: endpoints,
            identities: BTreeMap::new(),
            sizes: BTreeMap::new(),
            thinkers: BTreeSet::new(),
            loaded: None,
            absent: None,
            endpoints: BTreeMap::new(),
        }
    }

    /// Returns a directory for plans alone: a registered model without files is known by its entry.
    #[must_use]
    pub fn for_plans(self) -> Self {
        Self { absent: Some(BTreeSet::new()), ..self }
    }

    /// Returns the models that are known by their entry alone.
    pub fn absent(&self) -> impl Iterator<Item = &str> {
        self.absent.iter().flatten().map(String::as_str)
    }

    /// Returns the identity of a registered model without files here.
    fn identify_absent(&mut self, name: &str) -> Option<ModelIdentity> {
        let entry = self.files.registry().models.get(name)?;
        self.absent.as_mut()?.insert(name.to_owned());
        self.sizes.insert(name.to_owned(), entry.num_parameters);
        let weights = Digest::of_parts([b"not here".as_slice(), name.as_bytes()]);
        let tokenizer = weights.clone();
        Some(ModelIdentity { weights, tokenizer, template: None, attested: false })
    }

    fn take(&mut self, name: &str) -> Result<Model, Error> {
        match self.loaded.take() {
            Some((loaded, model)) if loaded == name => Ok(model),
            _ => self.read(name),
        }
    }

    /// Loads a model from its files: one of its own, or another one and an adapter of it.
    fn read(&self, name: &str) -> Result<Model, Error> {
        let path = self.files.model(name).map_err(|error| self.with_endpoints(error))?.path;
        let Some(base) = Model::base_of_adapter(&path)? else {
            return Ok(Model::load_on(&path, &self.devices)?);
        };
        let mut model = self.read(&base)?;
        model.merge_adapter(&path)?;
        Ok(model)
    }

    /// Returns the error about a name that is unknown, with the names of endpoints among the known ones.
    fn with_endpoints(&self, error: FilesError) -> FilesError {
        let FilesError::UnknownName { what, name, .. } = error else { return error };
        let models = self.files.registry().models.keys();
        let names: Vec<&str> =
            models.chain(self.endpoint_configs.keys()).map(String::as_str).collect();
        let known = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let nearest = nearest(&name, &names).map(str::to_owned);
        FilesError::UnknownName { what, name, nearest, known }
    }
}

/// Returns the variable `name` of the environment, which is the only source of keys.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ModelDirectory for Models {
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error> {
        if let Some(config) = self.endpoint_configs.get(name) {
            return Ok(config.identity());
        }
        if let Some(identity) = self.identities.get(name) {
            return Ok(identity.clone());
        }
        let identity = match self.take(name) {
            Ok(model) => {
                let identity = model.identity().clone();
                self.sizes.insert(name.to_owned(), model.num_parameters());
                if model.template().is_some_and(ChatTemplate::has_thinking_switch) {
                    self.thinkers.insert(name.to_owned());
                }
                self.loaded = Some((name.to_owned(), model));
                identity
            }
            Err(Error::Files(error @ FilesError::NotFetched { .. })) => {
                self.identify_absent(name).ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        self.identities.insert(name.to_owned(), identity.clone());
        Ok(identity)
    }

    fn sampling_defaults(&self, name: &str) -> SamplingDefaults {
        self.files.registry().models.get(name).map(|entry| entry.sampling).unwrap_or_default()
    }

    fn takes_chats(&self, identity: &ModelIdentity) -> bool {
        // A remote model has a template there; a model that is not downloaded is unknown.
        !identity.attested || identity.template.is_some()
    }

    fn can_think(&mut self, name: &str) -> Result<bool, Error> {
        let is_absent = !self.identify(name)?.attested && !self.is_remote(name);
        Ok(is_absent || self.thinkers.contains(name))
    }

    fn num_parameters(&self, name: &str) -> Option<u64> {
        self.sizes.get(name).copied()
    }

    fn is_remote(&self, name: &str) -> bool {
        self.endpoint_configs.contains_key(name)
    }

    fn price(&self, name: &str, usage: Usage) -> Option<f64> {
        self.endpoint_configs.get(name)?.price(usage)
    }
}

impl ModelLoader for Models {
    fn open(&mut self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        let Some(config) = self.endpoint_configs.get(name) else {
            let model = self.take(name)?;
            return Ok(Rc::new(LocalModel::new(model, self.options)));
        };
        if let Some(endpoint) = self.endpoints.get(name) {
            return Ok(Rc::clone(endpoint) as Rc<dyn LanguageModel>);
        }
        let endpoint = Rc::new(Endpoint::new(name, config, config.key(variable)?)?);
        self.endpoints.insert(name.to_owned(), Rc::clone(&endpoint));
        Ok(endpoint)
    }

    fn load(&mut self, name: &str) -> Result<Model, Error> {
        if self.endpoint_configs.contains_key(name) {
            return Err(Error::NotHere { name: name.to_owned() });
        }
        self.take(name)
    }

    fn weight_bytes(&self, name: &str) -> Option<u64> {
        let device = self.devices.first()?;
        Some(self.num_parameters(name)? * device.format().size() as u64)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.devices.iter().map(Device::free_memory).min().flatten()
    }

    fn total_usd(&self) -> f64 {
        self.endpoints.values().map(|endpoint| endpoint.spent().cost_usd).sum()
    }

    fn spent_usd(&self, name: &str) -> f64 {
        self.endpoints.get(name).map_or(0.0, |endpoint| endpoint.spent().cost_usd)
    }
}
