//! Models ready to answer and to be trained.

use std::rc::Rc;

use preceptor_core::LanguageModel;
use preceptor_models::Model;

use crate::Error;
use crate::models::directory::ModelDirectory;

/// Loader of models by the names that manifests use.
pub trait ModelLoader: ModelDirectory {
    /// Opens the model: loads it, or prepares calls to its endpoint, which takes the key.
    ///
    /// # Errors
    ///
    /// [`Error`] if the model can't be loaded or its key is missing.
    fn open(&mut self, name: &str) -> Result<Rc<dyn LanguageModel>, Error>;

    /// Loads a copy of a local model, to be trained.
    ///
    /// # Errors
    ///
    /// [`Error`] if the model can't be loaded or does not run here.
    fn load(&mut self, name: &str) -> Result<Model, Error> {
        Err(Error::NotHere { name: name.to_owned() })
    }

    /// Returns the bytes that the model's weights take on the device, if they are known.
    fn weight_bytes(&self, name: &str) -> Option<u64> {
        let _ = name;
        None
    }

    /// Returns the free bytes of the device, if they are known.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Returns the cost so far of all calls, in USD.
    fn total_usd(&self) -> f64 {
        0.0
    }

    /// Returns the cost so far of calls to the model, in USD.
    fn spent_usd(&self, name: &str) -> f64 {
        let _ = name;
        0.0
    }
}
