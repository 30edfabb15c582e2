//! A generator that says what a function says.

use preceptor_core::{
    Digest, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Prompt,
    Rollout, RolloutSeed, Sampling, Usage,
};

use crate::rollout;

/// Answers each rollout with `answer(prompt, seed)`: as pure as a real model with a seed.
pub struct ScriptedGenerator<F> {
    identity: ModelIdentity,
    answer: F,
}

impl<F: Fn(&Prompt, RolloutSeed) -> String> ScriptedGenerator<F> {
    /// Creates a generator called `name` that answers with `answer`.
    pub fn new(name: &str, answer: F) -> Self {
        let digest = Digest::of(name.as_bytes());
        let identity = ModelIdentity {
            weights: digest.clone(),
            tokenizer: digest,
            template: None,
            attested: true,
        };
        Self { identity, answer }
    }
}

impl<F: Fn(&Prompt, RolloutSeed) -> String> Generator for ScriptedGenerator<F> {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        _sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        let mut groups = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            let mut group = Vec::new();
            for seed in &request.rollouts {
                let rollout = rollout(seed.index, &(self.answer)(&request.prompt, *seed));
                observer.on_rollout(number, &rollout).map_err(PortError::Stopped)?;
                observer.on_tokens(Usage {
                    num_prompt_tokens: 1,
                    num_generated_tokens: rollout.token_ids.len() as u64,
                });
                group.push(rollout);
            }
            group.sort_by_key(|rollout| rollout.index);
            groups.push(group);
        }
        Ok(groups)
    }
}
