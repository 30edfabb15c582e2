//! Facts about models by name, without running them.

use preceptor_core::{ModelIdentity, Usage};
use preceptor_files::SamplingDefaults;

use crate::Error;

/// Directory of models by the names that manifests use. A plan needs no more than this.
pub trait ModelDirectory {
    /// Returns the identity of the model called `name`.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such model here.
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error>;

    /// Returns the sampling that the model's authors recommend.
    fn sampling_defaults(&self, name: &str) -> SamplingDefaults;

    /// Returns true if a model of this identity understands prompts that are chats.
    fn takes_chats(&self, identity: &ModelIdentity) -> bool {
        let _ = identity;
        true
    }

    /// Returns true if the model's chat template can turn thinking on, or if that is not known yet.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such model here.
    fn can_think(&mut self, name: &str) -> Result<bool, Error> {
        let _ = name;
        Ok(false)
    }

    /// Returns the number of weights, if it is known.
    fn num_parameters(&self, name: &str) -> Option<u64> {
        let _ = name;
        None
    }

    /// Returns true if the model runs elsewhere, so that keeping it open takes no memory.
    fn is_remote(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Returns the price of `usage` in USD, if the model has a price.
    fn price(&self, name: &str, usage: Usage) -> Option<f64> {
        let _ = (name, usage);
        None
    }
}
