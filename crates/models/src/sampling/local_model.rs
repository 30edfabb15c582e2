//! A loaded model as the ports see it: a generator and a scorer.
//!
//! Where a model lies on n devices, each draws the rollouts of every n-th prompt and scores an n-th of the
//! continuations, all at once.

use std::error::Error as StdError;
use std::sync::mpsc::{self, Sender};
use std::thread;

use preceptor_core::{
    Digest, GenerationObserver, GenerationRequest, Generator, ModelIdentity, PortError, Rollout,
    Sampling, ScoreRequest, Scorer, TokenDistribution, TokenScores, Usage,
};

use super::engine::{CounterValues, Counters};
use super::generate::{Admission, Generation};
use super::sampler::{RolloutTrace, Trace};
use super::score::score;
use crate::{Model, Replica, side_by_side};

/// How rollouts are drawn; none of it changes what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerationOptions {
    /// Sequences that decode together at most. None: 32 on the CPU, whose kernels gain little with
    /// more, else 128.
    pub max_batch: Option<usize>,
    /// Bytes that keys and values may take on each device. None: half of what is free when a call
    /// begins, where the device tells. A sequence joins while its longest possible form fits; one
    /// always does.
    pub cache_bytes: Option<u64>,
}

impl GenerationOptions {
    /// Limits a batch to this many sequences.
    pub fn of_batch(max_batch: usize) -> Self {
        Self { max_batch: Some(max_batch), ..Self::default() }
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

    /// Takes other weights of the same shape; see [`Model::set_replicas`].
    pub fn set_replicas(&mut self, replicas: Vec<Replica>, weights: Digest) {
        self.model.set_replicas(replicas, weights);
    }

    /// What it has done so far.
    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }
}

impl LocalModel {
    /// Draws on one device.
    fn draw(
        &self,
        replica: &Replica,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        trace: Option<Trace>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Traced>>, PortError> {
        let Self { model, options, counters } = self;
        let admission = Admission::new(*options, replica);
        let drawing =
            Generation::new(model, replica, counters, sampling, trace, admission, requests)?;
        drawing.run(observer)
    }

    /// [`Generator::generate`], with a record of every token where `trace` asks for it.
    ///
    /// # Errors
    ///
    /// As [`Generator::generate`].
    pub fn generate_traced(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        trace: Option<Trace>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Traced>>, PortError> {
        let replicas = self.model.replicas();
        if let [replica] = replicas {
            return self.draw(replica, requests, sampling, trace, observer);
        }
        let share = |number: usize| requests.iter().skip(number).step_by(replicas.len()).cloned();
        let shares: Vec<Vec<GenerationRequest>> =
            (0..replicas.len()).map(|number| share(number).collect()).collect();
        let (sender, events) = mpsc::channel();
        let drawn = thread::scope(|scope| {
            let shares = shares.iter().zip(replicas).enumerate();
            let started: Vec<_> = shares
                .map(|(first, (requests, replica))| {
                    let events = sender.clone();
                    let mut forward = Forward { first, step: replicas.len(), events };
                    scope.spawn(move || self.draw(replica, requests, sampling, trace, &mut forward))
                })
                .collect();
            drop(sender);
            let told = tell(events, observer);
            let drawn: Vec<_> = started
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect();
            told.map_err(PortError::Stopped)?;
            drawn.into_iter().collect::<Result<Vec<_>, PortError>>()
        })?;
        let mut drawn: Vec<_> = drawn.into_iter().map(Vec::into_iter).collect();
        let num = replicas.len();
        Ok((0..requests.len()).filter_map(|request| drawn[request % num].next()).collect())
    }
}

/// A rollout with the record of its tokens, which is empty where none was asked for.
pub type Traced = (Rollout, RolloutTrace);

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
        let drawn = self.generate_traced(requests, sampling, None, observer)?;
        let rollouts = |group: Vec<Traced>| group.into_iter().map(|(rollout, _)| rollout).collect();
        Ok(drawn.into_iter().map(rollouts).collect())
    }
}

/// What happens while rollouts are drawn.
enum Event {
    Rollout(usize, Box<Rollout>),
    Tokens(Usage),
}

/// Tells `observer` what happens, up to its first error: then nobody listens any more, and what is
/// still at work stops at its next event.
fn tell(
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

/// Sends what happens to the requests `first`, `first + step`, ..
struct Forward {
    first: usize,
    step: usize,
    events: Sender<Event>,
}

impl GenerationObserver for Forward {
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
        // Where nobody listens, the next rollout says so.
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
