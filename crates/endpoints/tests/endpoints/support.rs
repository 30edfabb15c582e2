//! Short ways to an endpoint and to what it did.

use std::error::Error;

use preceptor_core::{
    CallFailure, GenerationObserver, GenerationRequest, Generator, Message, PortError, Prompt,
    PromptBody, PromptId, Role, Rollout, RolloutSeed, Sampling, Seed, Usage,
};
use preceptor_endpoints::{Config, Endpoint};
use preceptor_testkit::server::Server;

/// Settings for `server` with waits that tests can bear.
pub(crate) fn config(server: &Server) -> Config {
    Config {
        base_urls: vec![server.url()],
        model: "some/model".to_owned(),
        max_retries: 2,
        retry_base_millis: 1,
        timeout_secs: 60,
        ..Config::default()
    }
}

/// An endpoint without a key.
pub(crate) fn endpoint(config: &Config) -> Endpoint {
    Endpoint::new("policy", config, None).expect("the settings are in range")
}

pub(crate) fn chat(content: &str) -> Prompt {
    let message = Message { role: Role::User, content: content.to_owned() };
    Prompt::new(PromptId::new("prompt"), PromptBody::Chat(vec![message]))
}

pub(crate) fn seed(index: u32) -> Seed {
    Seed::root(7).derive("rollouts").derive_index(index.into())
}

/// These rollouts of one chat.
pub(crate) fn request(indices: impl IntoIterator<Item = u32>) -> GenerationRequest {
    let rollouts = indices.into_iter().map(|index| RolloutSeed { index, seed: seed(index) });
    GenerationRequest { prompt: chat("What is 2+2?"), rollouts: rollouts.collect() }
}

/// Returns the rollout of a seed.
pub(crate) fn index_of(sent: u64) -> u32 {
    (0..1000).find(|index| u64::from(seed(*index).to_u31()) == sent).expect("the seed is known")
}

/// Keeps what it hears.
#[derive(Default)]
pub(crate) struct Heard {
    pub rollouts: Vec<(usize, Rollout)>,
    pub failures: Vec<(usize, u32, CallFailure)>,
    pub usage: Usage,
    /// After how many rollouts it stops.
    pub stop_after: Option<usize>,
}

impl GenerationObserver for Heard {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.rollouts.push((request, rollout.clone()));
        match self.stop_after {
            Some(most) if self.rollouts.len() >= most => Err("the disk is full".into()),
            _ => Ok(()),
        }
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        self.failures.push((request, index, failure.clone()));
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.usage += usage;
    }
}

/// Draws rollout 0 of one chat, which succeeds.
pub(crate) fn draw_one(endpoint: &Endpoint) -> Rollout {
    let mut heard = Heard::default();
    let drawn = endpoint.generate(&[request([0])], &Sampling::default(), &mut heard);
    assert_eq!(heard.failures, []);
    drawn.expect("nothing stops it").remove(0).remove(0)
}

/// Draws rollout 0 of one chat, which fails.
pub(crate) fn fail_one(endpoint: &Endpoint) -> CallFailure {
    let mut heard = Heard::default();
    let drawn = endpoint.generate(&[request([0])], &Sampling::default(), &mut heard);
    assert_eq!(drawn.expect("nothing stops it"), [Vec::new()]);
    assert_eq!(heard.failures.len(), 1);
    heard.failures.remove(0).2
}

/// Draws rollout 0 of one chat, which stops the run.
pub(crate) fn stop_one(endpoint: &Endpoint) -> PortError {
    let mut heard = Heard::default();
    let drawn = endpoint.generate(&[request([0])], &Sampling::default(), &mut heard);
    assert!(heard.rollouts.is_empty() && heard.failures.is_empty());
    drawn.expect_err("it stops")
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
