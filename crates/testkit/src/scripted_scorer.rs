//! A scorer whose log-probabilities a function gives.

use preceptor_core::{Continuation, PortError, Prompt, ScoreRequest, Scorer, TokenScores};

/// Scores a continuation with `logprobs(prompt, continuation)`, one value per token.
pub struct ScriptedScorer<F> {
    logprobs: F,
}

impl<F: Fn(&Prompt, &Continuation) -> Vec<f32>> ScriptedScorer<F> {
    /// Creates a scorer that answers with `logprobs`.
    pub fn new(logprobs: F) -> Self {
        Self { logprobs }
    }
}

impl<F: Fn(&Prompt, &Continuation) -> Vec<f32>> Scorer for ScriptedScorer<F> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        let scores = |request: &ScoreRequest| {
            let logprobs = (self.logprobs)(&request.prompt, &request.continuation);
            TokenScores { token_ids: vec![0; logprobs.len()], logprobs }
        };
        Ok(requests.iter().map(scores).collect())
    }
}
