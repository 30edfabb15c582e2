//! A generator whose calls may fail and whose rollouts may end badly.

use std::cell::RefCell;

use preceptor_core::{
    Digest, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Prompt,
    Rollout, RolloutSeed, Sampling,
};

/// Answers with the rollout `sample(prompt, seed)`, or not at all, and remembers what it was asked.
pub struct ScriptedRollouts<F> {
    identity: ModelIdentity,
    sample: F,
    calls: RefCell<Vec<Vec<(Prompt, RolloutSeed)>>>,
}

impl<F: Fn(&Prompt, RolloutSeed) -> Option<Rollout>> ScriptedRollouts<F> {
    /// Creates a generator that answers with `sample`.
    pub fn new(sample: F) -> Self {
        let digest = Digest::of(b"scripted-rollouts");
        let identity = ModelIdentity {
            weights: digest.clone(),
            tokenizer: digest,
            template: None,
            attested: true,
        };
        Self { identity, sample, calls: RefCell::new(Vec::new()) }
    }

    /// Returns the rollouts of each call so far.
    pub fn calls(&self) -> Vec<Vec<(Prompt, RolloutSeed)>> {
        self.calls.borrow().clone()
    }
}

impl<F: Fn(&Prompt, RolloutSeed) -> Option<Rollout>> Generator for ScriptedRollouts<F> {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        _sampling: &Sampling,
        _observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        let mut asked = Vec::new();
        let mut groups = Vec::new();
        for request in requests {
            asked.extend(request.rollouts.iter().map(|seed| (request.prompt.clone(), *seed)));
            let sample = |seed: &RolloutSeed| {
                let rollout = (self.sample)(&request.prompt, *seed)?;
                Some(Rollout { index: seed.index, ..rollout })
            };
            groups.push(request.rollouts.iter().filter_map(sample).collect());
        }
        self.calls.borrow_mut().push(asked);
        Ok(groups)
    }
}
