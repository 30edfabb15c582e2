//! An endpoint as a generator and a scorer.

use preceptor_core::{
    GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Rollout, Sampling,
    ScoreRequest, Scorer, TokenScores,
};

use crate::call::Caller;
use crate::draw::draw;
use crate::score::score;
use crate::{Config, Error, Secret, Spent};

/// A model behind an OpenAI-compatible interface.
///
/// All calls of an endpoint share its rate limits and budget; `concurrency` applies to each use of
/// a port. If an observer stops or the key is refused, calls in flight end first. Proxies are taken
/// from the usual variables, except for this machine's own addresses.
///
/// ```
/// use preceptor_core::Generator;
/// use preceptor_endpoints::{Config, Endpoint};
///
/// let config = Config {
///     base_urls: vec!["http://localhost:8000/v1".to_owned()],
///     model: "some/model".to_owned(),
///     key_env: Some("SOME_KEY".to_owned()),
///     ..Config::default()
/// };
/// let environment = |name: &str| (name == "SOME_KEY").then(|| "sk-0123456789".to_owned());
/// let endpoint = Endpoint::new("anchor", &config, config.key(environment)?)?;
/// assert!(!endpoint.identity().attested);
/// assert!(!format!("{endpoint:?}").contains("sk-0123456789"));
/// # Ok::<_, preceptor_endpoints::Error>(())
/// ```
#[derive(Debug)]
pub struct Endpoint {
    name: String,
    config: Config,
    identity: ModelIdentity,
    caller: Caller,
}

impl Endpoint {
    /// Creates an endpoint called `name` in messages. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::BadSetting`] as described at [`Config::validate`].
    pub fn new(name: &str, config: &Config, key: Option<Secret>) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            identity: config.identity(),
            caller: Caller::new(name, config, key)?,
        })
    }

    /// Returns the name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the cost of its calls so far.
    pub fn spent(&self) -> Spent {
        self.caller.purse.spent()
    }
}

impl Generator for Endpoint {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// Generates rollouts without `token_ids`, and with `logprobs` only if the server returns them.
    /// Each call reads its prompt again, and usage counts it each time.
    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        draw(&self.config, &self.caller, requests, sampling, observer)
    }
}

impl Scorer for Endpoint {
    /// Scores without `token_ids`.
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        score(&self.name, &self.config, &self.caller, requests)
    }
}
