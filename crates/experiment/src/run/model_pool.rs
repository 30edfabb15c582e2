//! Models that are open during a run.

use std::collections::BTreeMap;
use std::rc::Rc;

use preceptor_core::LanguageModel;
use preceptor_models::Model;

use crate::Error;
use crate::models::loader::ModelLoader;

/// Open models by name. Local models stay loaded while memory allows, so that an anchor, a judge and
/// a KL reference that take turns are read from disk once.
pub(crate) struct ModelPool<'a> {
    loader: &'a mut dyn ModelLoader,
    /// Loaded local models, the one that was used last at the end.
    loaded: Vec<(String, Rc<dyn LanguageModel>)>,
    /// Policies that were trained in this run, by the names of [`crate::plan::cell::Cell::policy_name`].
    policies: BTreeMap<String, Rc<dyn LanguageModel>>,
}

impl<'a> ModelPool<'a> {
    pub(crate) fn new(loader: &'a mut dyn ModelLoader) -> Self {
        Self { loader, loaded: Vec::new(), policies: BTreeMap::new() }
    }

    /// Opens `policy` whenever `name` is asked for, until it is unregistered.
    pub(crate) fn register_policy(&mut self, name: String, policy: Rc<dyn LanguageModel>) {
        self.policies.insert(name, policy);
    }

    pub(crate) fn unregister_policy(&mut self, name: &str) {
        self.policies.remove(name);
    }

    /// Loads a copy of a local model, to be trained.
    pub(crate) fn load(&mut self, name: &str) -> Result<Model, Error> {
        self.loader.load(name)
    }

    /// Returns the model called `name`, and opens it first if necessary.
    pub(crate) fn open(&mut self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        if let Some(policy) = self.policies.get(name) {
            return Ok(Rc::clone(policy));
        }
        if self.loader.is_remote(name) {
            return self.loader.open(name);
        }
        let known = self.loaded.iter().position(|(known, _)| known == name);
        let model = match known {
            Some(position) => self.loaded.remove(position).1,
            None => {
                while !self.loaded.is_empty() && !self.has_room_for(name) {
                    self.loaded.remove(0);
                }
                self.loader.open(name)?
            }
        };
        self.loaded.push((name.to_owned(), Rc::clone(&model)));
        Ok(model)
    }

    /// Returns true if a model fits beside those that are loaded, with as much again for its work;
    /// false where sizes are unknown.
    fn has_room_for(&self, name: &str) -> bool {
        match (self.loader.weight_bytes(name), self.loader.free_bytes()) {
            (Some(needed), Some(free)) => needed.saturating_mul(2) <= free,
            _ => false,
        }
    }

    /// Returns the cost so far of all calls, in USD.
    pub(crate) fn total_usd(&self) -> f64 {
        self.loader.total_usd()
    }

    /// Returns the cost so far of calls to `name`, in USD.
    pub(crate) fn spent_usd(&self, name: &str) -> f64 {
        self.loader.spent_usd(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{ScriptedModels, scripted_model};

    #[test]
    fn the_model_that_was_used_longest_ago_is_evicted_first() {
        // A model needs its own size again for its work, so two fit into three bytes.
        let mut models = ScriptedModels { num_bytes: 3, ..ScriptedModels::default() };
        let mut pool = ModelPool::new(&mut models);
        for name in ["a", "b", "a", "c", "a", "b"] {
            pool.open(name).unwrap();
        }
        assert_eq!(models.opened, ["a", "b", "c", "b"]);
    }

    #[test]
    fn a_registered_policy_wins_over_the_model_of_its_name() {
        let mut models = ScriptedModels { num_bytes: 9, ..ScriptedModels::default() };
        let mut pool = ModelPool::new(&mut models);
        let policy = scripted_model("trained");
        pool.register_policy("a".to_owned(), Rc::clone(&policy));
        assert!(Rc::ptr_eq(&pool.open("a").unwrap(), &policy));
        pool.unregister_policy("a");
        assert!(!Rc::ptr_eq(&pool.open("a").unwrap(), &policy));
        assert_eq!(models.opened, ["a"]);
    }
}
