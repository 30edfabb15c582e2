//! Fixtures of unit tests: documents and plans from text, scripted models, a store.

use std::fs;
use std::rc::{Rc, Weak};

use preceptor_core::{LanguageModel, ModelIdentity, Usage};
use preceptor_files::{Files, Hub, Places, SamplingDefaults};
use preceptor_store::Store;
use preceptor_testkit::ScriptedModel;

use crate::manifest::document::Document;
use crate::manifest::resolve::{ResolveOptions, resolve};
use crate::models::directory::ModelDirectory;
use crate::models::loader::ModelLoader;
use crate::plan::resolved::Plan;
use crate::{Error, ManifestError};

/// Reads the first of `files` (name and text) as a manifest, with `settings` of the command line.
pub(crate) fn document(
    files: &[(&str, &str)],
    settings: &[&str],
) -> Result<Document, ManifestError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("writable");
    }
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Document::read(&folder.path().join(files[0].0), &settings)
}

/// Plans a manifest of two arithmetic prompts and the model `policy`, with `settings` of the command line.
pub(crate) fn plan(settings: &[&str], limit: Option<usize>) -> Result<Plan, Error> {
    let manifest = "title = \"t\"\n\
        [policy]\nmodel = \"policy\"\n\
        [benchmark]\nkind = \"arithmetic\"\nlimit = 2\n\
        [sampling]\ngroup-size = 4\nmax-new-tokens = 10\n\
        [aggregator]\nkind = \"majority\"\n\
        [reward]\nterms = [{ kind = \"answer-match\" }]\n";
    let document = document(&[("m.toml", manifest)], settings)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let files = Files::open(Places {
        cache: path("cache"),
        models: path("models"),
        data: None,
        config: path("config"),
        hub: Hub { endpoint: "http://127.0.0.1:9".to_owned(), token: None },
    })?;
    resolve(&document, &files, &mut ScriptedModels::default(), ResolveOptions { limit })
}

/// Opens a store in a new temporary folder.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(folder.path().join("runs")).expect("a store");
    (folder, store)
}

/// Scripted models of one byte each, under any name.
#[derive(Default)]
pub(crate) struct ScriptedModels {
    /// Names in the order in which models were opened.
    pub(crate) opened: Vec<String>,
    /// Bytes of the device.
    pub(crate) num_bytes: u64,
    /// Name of the only endpoint, with a price of one USD per token.
    pub(crate) endpoint: Option<&'static str>,
    /// The endpoint has no price after all.
    pub(crate) has_no_price: bool,
    /// Number of weights of every model.
    pub(crate) num_parameters: Option<u64>,
    /// Models that were opened; those that are still in use take memory.
    pub(crate) models: Vec<Weak<dyn LanguageModel>>,
}

/// Creates the scripted model called `name`.
pub(crate) fn scripted_model(name: &str) -> Rc<dyn LanguageModel> {
    Rc::new(ScriptedModel::new(name, |_, _| r"\boxed{1}".to_owned(), |_, _| vec![-1.0]))
}

impl ModelDirectory for ScriptedModels {
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error> {
        Ok(scripted_model(name).identity().clone())
    }

    fn sampling_defaults(&self, _name: &str) -> SamplingDefaults {
        SamplingDefaults::default()
    }

    fn num_parameters(&self, _name: &str) -> Option<u64> {
        self.num_parameters
    }

    fn is_remote(&self, name: &str) -> bool {
        self.endpoint == Some(name)
    }

    fn price(&self, _name: &str, usage: Usage) -> Option<f64> {
        let num_tokens = usage.num_prompt_tokens + usage.num_generated_tokens;
        (!self.has_no_price).then_some(num_tokens as f64)
    }
}

impl ModelLoader for ScriptedModels {
    fn open(&mut self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        let model = scripted_model(name);
        self.opened.push(name.to_owned());
        self.models.push(Rc::downgrade(&model));
        Ok(model)
    }

    fn weight_bytes(&self, _name: &str) -> Option<u64> {
        Some(1)
    }

    fn free_bytes(&self) -> Option<u64> {
        let num_open = self.models.iter().filter(|model| model.strong_count() > 0).count() as u64;
        Some(self.num_bytes.saturating_sub(num_open))
    }
}
