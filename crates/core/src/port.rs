//! Port traits: the roles that implementations fill.
//!
//! Each trait takes a slice of work and returns one result for each item. Calls are synchronous;
//! how an implementation spreads its work over threads or connections is its own matter.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    AbstainReason, CallFailure, Criterion, FinishReason, Group, GroupReward, Judged, ModelIdentity,
    Prompt, PseudoReference, Rating, Rollout, Sampling, Seed, Usage, Verdict,
};

/// Error that stops a run. A bad rollout is data, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The caller asked for something that the implementation can't do.
    #[error("use {component}: {detail}")]
    Unsupported {
        /// The component that refuses.
        component: &'static str,
        /// The request and the alternatives.
        detail: String,
    },
    /// Something below the implementation failed.
    #[error("use {component}")]
    Failed {
        /// The component that failed.
        component: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The observer asked to stop, for example because the store can't be written.
    #[error("keep results")]
    Stopped(#[source] Box<dyn Error + Send + Sync>),
}

/// Rollout to sample: its index in the group and its own random stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutSeed {
    /// Becomes [`Rollout::index`].
    pub index: u32,
    /// The stream every token of the rollout is drawn from.
    pub seed: Seed,
}

/// Rollouts to sample for one prompt. The prompt is read once for all of them.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// The prompt.
    pub prompt: Prompt,
    /// Rollouts of the group that are wanted.
    pub rollouts: Vec<RolloutSeed>,
}

/// Observer of generation.
pub trait GenerationObserver {
    /// Rollout `rollout` of request number `request` has ended. Called once for each, in the order
    /// in which they end. An error stops generation.
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Rollout `index` of request number `request` could not be had; it is absent from the result.
    /// Asking again later may succeed. Local models never fail so.
    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        let _ = (request, index, failure);
    }

    /// Tokens were read or written since the last call.
    fn on_tokens(&mut self, usage: Usage) {
        let _ = usage;
    }
}

/// Samples rollouts: a local model or an endpoint.
pub trait Generator {
    /// Returns the identity of the model.
    fn identity(&self) -> &ModelIdentity;

    /// Draws all rollouts of all requests; the result has one list for each request, by rising
    /// rollout index; rollouts that could not be had are absent and were told to the observer. What
    /// a rollout says depends on the model, its prompt, `sampling` and its seed, and on nothing
    /// else, as far as the model is attested.
    ///
    /// # Errors
    ///
    /// [`PortError::Stopped`] if the observer refuses a rollout; otherwise what stops a run.
    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError>;
}

/// Text after a prompt, to be scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Continuation {
    /// Tokens as they were sampled.
    Tokens(Vec<u32>),
    /// Text, tokenized without special tokens.
    Text(String),
}

/// Prompt with a continuation to score.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The prompt.
    pub prompt: Prompt,
    /// The text to score.
    pub continuation: Continuation,
}

/// The distribution that tokens are scored under: the softmax of the logits over a temperature, cut to
/// some tokens and renormalised.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenDistribution {
    /// Logits are divided by this number, which is above 0.
    pub temperature: f64,
    /// For each token of the continuation, the ids that remain, itself among them; none keeps all.
    pub kept: Option<Arc<Vec<Vec<u32>>>>,
}

impl Default for TokenDistribution {
    /// The unmodified distribution.
    fn default() -> Self {
        Self { temperature: 1.0, kept: None }
    }
}

impl TokenDistribution {
    /// Returns whether it is the unmodified distribution.
    pub fn is_plain(&self) -> bool {
        self.temperature == 1.0 && self.kept.is_none()
    }
}

/// Log-probabilities of a continuation, token by token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenScores {
    /// The continuation's tokens.
    pub token_ids: Vec<u32>,
    /// Natural log-probability of each under the unmodified distribution; empty where the prompt
    /// with its continuation outgrows the context window.
    pub logprobs: Vec<f32>,
}

/// Scores given text by its log-probabilities.
pub trait Scorer {
    /// Scores each request. One that outgrows the context window has no log-probabilities.
    ///
    /// # Errors
    ///
    /// [`PortError`] if the model fails.
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError>;

    /// Scores each request under its own distribution.
    ///
    /// # Errors
    ///
    /// [`PortError::Failed`] if the model fails, [`PortError::Unsupported`] from scorers that only know the unmodified
    /// distribution and are asked for another.
    fn score_under(
        &self,
        requests: &[ScoreRequest],
        distributions: &[TokenDistribution],
    ) -> Result<Vec<TokenScores>, PortError> {
        if distributions.iter().all(TokenDistribution::is_plain) {
            return self.score(requests);
        }
        Err(PortError::Unsupported {
            component: "this model",
            detail: "score tokens at another temperature than 1 or under a cut distribution"
                .to_owned(),
        })
    }
}

/// Observer that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl GenerationObserver for NoObserver {
    fn on_rollout(&mut self, _: usize, _: &Rollout) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// A model that both answers and scores.
pub trait LanguageModel: Generator + Scorer {}

impl<T: Generator + Scorer> LanguageModel for T {}

/// A group to aggregate.
#[derive(Clone, Copy, Debug)]
pub struct AggregateRequest<'a> {
    /// The rollouts.
    pub group: &'a Group,
    /// The stream for this group's draws (ties, orders).
    pub seed: Seed,
}

/// Outcome of aggregating a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AggregateOutcome {
    /// There is a pseudo-reference.
    Estimated(PseudoReference),
    /// There is none, for this reason.
    Abstained(AbstainReason),
}

/// Aggregate of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Aggregate {
    /// The pseudo-reference, or the reason that there is none.
    pub outcome: AggregateOutcome,
    /// Named measures of the decision, for example `margin`; the aggregator documents them.
    pub measures: BTreeMap<String, f64>,
    /// Replies of models, in order: whole syntheses, or the reply that names an index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replies: Vec<Reply>,
    /// Tokens spent on it, beyond the rollouts.
    pub usage: Usage,
}

/// Reply of a model that led to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reply {
    /// The text, word for word.
    pub text: String,
    /// Reason that it ended, if known.
    pub finish: Option<FinishReason>,
}

/// Estimates a pseudo-reference from a group.
pub trait Aggregator {
    /// Aggregates each group.
    ///
    /// # Errors
    ///
    /// [`PortError`] if a model fails. A group without a usable answer is [`AggregateOutcome::Abstained`].
    fn aggregate(&self, requests: &[AggregateRequest<'_>]) -> Result<Vec<Aggregate>, PortError>;
}

/// A response to judge, and by what.
#[derive(Clone, Debug)]
pub struct VerdictRequest<'a> {
    /// The prompt of the response; none if the judge must not see it.
    pub prompt: Option<&'a Prompt>,
    /// The text that is judged. It is hostile input.
    pub response: &'a str,
    /// A text to compare it with, where the criteria speak of one. Hostile input too.
    pub reference: Option<&'a str>,
    /// Criteria, each checked independently.
    pub criteria: &'a [Criterion],
}

/// A scale from its lowest to its highest grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The lowest grade.
    pub low: u32,
    /// The highest grade.
    pub high: u32,
}

/// Rollouts to choose the best of.
#[derive(Clone, Debug)]
pub struct ChoiceRequest<'a> {
    /// The prompt of the responses; none if the judge must not see it.
    pub prompt: Option<&'a Prompt>,
    /// The responses. They are hostile input.
    pub responses: &'a [&'a str],
}

/// Answers questions about responses.
pub trait Judge {
    /// Returns a verdict for each criterion of each request.
    ///
    /// # Errors
    ///
    /// [`PortError`] if the judge can't be used at all. A missing verdict is [`Verdict::Failed`].
    fn verdicts(
        &self,
        requests: &[VerdictRequest<'_>],
    ) -> Result<Vec<Vec<Judged<Verdict>>>, PortError>;

    /// Returns a rating on `scale` for each criterion of each request.
    ///
    /// # Errors
    ///
    /// [`PortError::Unsupported`] from judges that only say yes or no; any other [`PortError`] if the
    /// judge can't be used at all.
    fn ratings(
        &self,
        requests: &[VerdictRequest<'_>],
        scale: Scale,
    ) -> Result<Vec<Vec<Judged<Rating>>>, PortError>;

    /// Returns the index of the best response of each request, from 0, or the reason that there is none.
    ///
    /// # Errors
    ///
    /// [`PortError::Unsupported`] from judges that only say yes or no; any other [`PortError`] if the
    /// judge can't be used at all.
    fn choices(&self, requests: &[ChoiceRequest<'_>]) -> Result<Vec<Judged<Rating>>, PortError>;
}

/// A group to reward.
#[derive(Clone, Copy, Debug)]
pub struct RewardRequest<'a> {
    /// The rollouts.
    pub group: &'a Group,
    /// The pseudo-reference, if there is one.
    pub reference: Option<&'a PseudoReference>,
    /// The stream for this group's draws.
    pub seed: Seed,
}

/// Scores the rollouts of a group, without a label.
pub trait RewardDeriver {
    /// Derives the rewards of each group.
    ///
    /// # Errors
    ///
    /// [`PortError`] if a model fails. A rollout that can't be rewarded is a
    /// [`RewardValue::Unrewarded`](crate::RewardValue::Unrewarded).
    fn derive(&self, requests: &[RewardRequest<'_>]) -> Result<Vec<GroupReward>, PortError>;
}
