//! A loaded model as the ports see it: a generator and a scorer.

use preceptor_core::{
    Digest, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Rollout,
    Sampling, ScoreRequest, Scorer, TokenScores,
};

use crate::engine::{CounterValues, Counters};
use crate::generate::Generation;
use crate::score::score;
use crate::{Decoder, Error, Model};

/// Who speaks in port errors.
pub(crate) const COMPONENT: &str = "the local model";

pub(crate) fn failed(error: Error) -> PortError {
    PortError::Failed { component: COMPONENT, source: Box::new(error) }
}

/// How rollouts are drawn; none of it changes what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationOptions {
    /// Sequences that decode together, at least 1. More need more memory and finish sooner.
    pub max_batch: usize,
}

impl Default for GenerationOptions {
    /// 32 sequences: with more, the CPU kernels gain little.
    fn default() -> Self {
        Self { max_batch: 32 }
    }
}

/// A model on this machine.
#[derive(Debug)]
pub struct LocalModel {
    model: Model,
    options: GenerationOptions,
    counters: Counters,
}

impl LocalModel {
    /// Wraps a loaded model.
    pub fn new(model: Model, options: GenerationOptions) -> Self {
        Self { model, options, counters: Counters::default() }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes other weights of the same shape; see [`Model::set_decoder`].
    pub fn set_decoder(&mut self, decoder: Box<dyn Decoder>, weights: Digest) {
        self.model.set_decoder(decoder, weights);
    }

    /// What it has done so far.
    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }
}

impl Generator for LocalModel {
    fn identity(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        let Self { model, options, counters } = self;
        Generation::new(model, counters, sampling, options.max_batch, requests)?.run(observer)
    }
}

impl Scorer for LocalModel {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        score(&self.model, &self.counters, requests)
    }
}
