//! A loaded model behind the ports: a generator and a scorer.
//!
//! On n devices, each samples the rollouts of every n-th prompt and scores an n-th of the continuations, in
//! parallel.

use std::error::Error as StdError;
use std::sync::mpsc::{self, Sender};
use std::thread;

use preceptor_core::{
    Digest, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Rollout,
    Sampling, ScoreRequest, Scorer, TokenDistribution, TokenScores, Usage,
};

use super::engine::{CounterValues, Counters};
use super::generate::{Admission, Generation, GenerationOptions};
use super::sampler::{RolloutTrace, Trace};
use super::score::score;
use crate::{Model, Replica, side_by_side};

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

    /// Returns the model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Replaces the weights by others of the same shape; see [`Model::set_replicas`].
    pub fn set_replicas(&mut self, replicas: Vec<Replica>, weights: Digest) {
        self.model.set_replicas(replicas, weights);
    }

    /// Returns the counts of its work so far.
    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }

    /// Samples on one device.
    fn sample(
        &self,
        replica: &Replica,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        trace: Option<Trace>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<TracedRollout>>, PortError> {
        let Self { model, options, counters } = self;
        let admission = Admission::new(*options, replica);
        let generation =
            Generation::new(model, replica, counters, sampling, trace, admission, requests)?;
        generation.run(observer)
    }

    /// Samples like [`Generator::generate`], with a record of every token if `trace` is set.
    ///
    /// # Errors
    ///
    /// See [`Generator::generate`].
    pub fn generate_traced(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        trace: Option<Trace>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<TracedRollout>>, PortError> {
        let replicas = self.model.replicas();
        if let [replica] = replicas {
            return self.sample(replica, requests, sampling, trace, observer);
        }
        let share = |replica: usize| requests.iter().skip(replica).step_by(replicas.len()).cloned();
        let shares: Vec<Vec<GenerationRequest>> =
            (0..replicas.len()).map(|replica| share(replica).collect()).collect();
        let (sender, events) = mpsc::channel();
        let sampled = thread::scope(|scope| {
            let shares = shares.iter().zip(replicas).enumerate();
            let started: Vec<_> = shares
                .map(|(first, (requests, replica))| {
                    let events = sender.clone();
                    let mut sender = EventSender { first, step: replicas.len(), events };
                    scope
                        .spawn(move || self.sample(replica, requests, sampling, trace, &mut sender))
                })
                .collect();
            drop(sender);
            let forwarded = forward_events(events, observer);
            let sampled: Vec<_> = started
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect();
            forwarded.map_err(PortError::Stopped)?;
            sampled.into_iter().collect::<Result<Vec<_>, PortError>>()
        })?;
        let mut sampled: Vec<_> = sampled.into_iter().map(Vec::into_iter).collect();
        let num = replicas.len();
        Ok((0..requests.len()).filter_map(|request| sampled[request % num].next()).collect())
    }
}

/// A rollout with the record of its tokens, which is empty without tracing.
pub type TracedRollout = (Rollout, RolloutTrace);

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
        let sampled = self.generate_traced(requests, sampling, None, observer)?;
        let rollouts =
            |group: Vec<TracedRollout>| group.into_iter().map(|(rollout, _)| rollout).collect();
        Ok(sampled.into_iter().map(rollouts).collect())
    }
}

/// Progress of sampling.
enum Event {
    Rollout(usize, Box<Rollout>),
    Tokens(Usage),
}

/// Passes events to `observer` up to its first error. Then the receiver is dropped, and each device stops
/// at its next event.
fn forward_events(
    events: mpsc::Receiver<Event>,
    observer: &mut dyn GenerationObserver,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    for event in events {
        match event {
            Event::Rollout(request, rollout) => observer.on_rollout(request, &rollout)?,
            Event::Tokens(usage) => observer.on_tokens(usage),
        }
    }
    Ok(())
}

/// Sends the events of the requests `first`, `first + step`, ..
struct EventSender {
    first: usize,
    step: usize,
    events: Sender<Event>,
}

impl GenerationObserver for EventSender {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let request = self.first + request * self.step;
        let event = Event::Rollout(request, Box::new(rollout.clone()));
        self.events.send(event).map_err(|_| "another device stopped".into())
    }

    fn on_tokens(&mut self, usage: Usage) {
        // If the receiver is gone, the next rollout reports it.
        let _ = self.events.send(Event::Tokens(usage));
    }
}

impl Scorer for LocalModel {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        let plain = TokenDistribution::default();
        self.score_under(requests, &vec![plain; requests.len()])
    }

    fn score_under(
        &self,
        requests: &[ScoreRequest],
        distributions: &[TokenDistribution],
    ) -> Result<Vec<TokenScores>, PortError> {
        assert_eq!(requests.len(), distributions.len(), "one distribution for each request");
        let replicas = self.model.replicas();
        let len = requests.len().div_ceil(replicas.len()).max(1);
        let shares = requests.chunks(len).zip(distributions.chunks(len));
        let shares: Vec<_> = replicas.iter().zip(shares).collect();
        let scored = side_by_side(shares, |(replica, (requests, distributions))| {
            score(&self.model, replica, &self.counters, requests, distributions)
        });
        Ok(scored.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }
}
