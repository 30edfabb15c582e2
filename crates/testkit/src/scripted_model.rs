//! A model that answers and scores as functions say.

use preceptor_core::{
    Continuation, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError,
    Prompt, Rollout, RolloutSeed, Sampling, ScoreRequest, Scorer, TokenScores,
};

use crate::{ScriptedGenerator, ScriptedScorer};

/// A [`ScriptedGenerator`] and a [`ScriptedScorer`] in one.
pub struct ScriptedModel<F, G> {
    generator: ScriptedGenerator<F>,
    scorer: ScriptedScorer<G>,
}

impl<F, G> ScriptedModel<F, G>
where
    F: Fn(&Prompt, RolloutSeed) -> String,
    G: Fn(&Prompt, &Continuation) -> Vec<f32>,
{
    /// Creates a model called `name` that answers with `answer` and scores with `logprobs`.
    pub fn new(name: &str, answer: F, logprobs: G) -> Self {
        let generator = ScriptedGenerator::new(name, answer);
        Self { generator, scorer: ScriptedScorer::new(logprobs) }
    }
}

impl<F: Fn(&Prompt, RolloutSeed) -> String, G> Generator for ScriptedModel<F, G> {
    fn identity(&self) -> &ModelIdentity {
        self.generator.identity()
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        self.generator.generate(requests, sampling, observer)
    }
}

impl<F, G: Fn(&Prompt, &Continuation) -> Vec<f32>> Scorer for ScriptedModel<F, G> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        self.scorer.score(requests)
    }
}
