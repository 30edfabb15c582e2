//! A model whose every call is stored.
//!
//! Aggregators, rewards and judges ask models through this layer. A question that any cell or run asked
//! before is answered from the store; a new one is asked, and its reply is written as it comes. So a
//! killed run loses at most the calls in flight, a second run asks only what is missing or failed, and
//! a model is loaded only when it has something to answer.
//!
//! Calls of one role, model and sampling are one stage. Roles are kept apart so that costs are.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;

use preceptor_core::record::{
    CallRecord, CostRecord, RECORD_FORMAT, ScoreRecord, call_key, score_key,
};
use preceptor_core::{
    CallFailure, CallFailureKind, GenerationObserver, GenerationRequest, Generator, ModelIdentity,
    ModelRole, PortError, Rollout, Sampling, ScoreRequest, Scorer, TokenScores, Usage,
};
use preceptor_store::StageSpec;
use serde::Serialize;

use crate::Error;
use crate::progress::Unit;
use crate::run::session::Session;
use crate::run::stage_filler::StageFiller;

/// Number of texts that are scored and written together.
const SCORES_PER_BATCH: usize = 64;

/// A model in a role, every call of which is stored.
pub(crate) struct CachedModel<'s, 'a> {
    pub(crate) session: &'s Session<'a>,
    pub(crate) role: ModelRole,
    pub(crate) name: String,
    pub(crate) identity: ModelIdentity,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CallsSpec<'a> {
    format: u32,
    role: ModelRole,
    model: &'a ModelIdentity,
    sampling: &'a Sampling,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ScoresSpec<'a> {
    format: u32,
    role: ModelRole,
    model: &'a ModelIdentity,
}

/// Carries an error of this crate through a port.
fn through_port(error: Error) -> PortError {
    match error {
        Error::Port(error) => error,
        other => PortError::Failed { component: "the experiment", source: Box::new(other) },
    }
}

impl CachedModel<'_, '_> {
    fn label(&self) -> String {
        format!("{} · {}", self.role.name(), self.name)
    }

    fn generate_missing(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, Error> {
        let format = RECORD_FORMAT;
        let spec = CallsSpec { format, role: self.role, model: &self.identity, sampling };
        let stage = self.session.store.stage(&StageSpec::new("calls", &spec)?);
        let keys = requests.iter().flat_map(|request| {
            request.rollouts.iter().map(|seed| call_key(&request.prompt, &seed.seed))
        });
        let found = stage.find::<CallRecord>(&keys.collect())?;
        self.session.notice_unreadable(&self.label(), &found.unreadable);
        let mut known: BTreeMap<String, Rollout> =
            found.records.into_iter().map(|(key, record)| (key, record.rollout)).collect();
        let MissingCalls { requests: missing, indices, keys: mut asked, num_found, num_reused } =
            missing_calls(requests, &known);
        self.session.add_cost(self.role, |cost| cost.num_reused += num_reused);
        let answered = if missing.is_empty() {
            Ok(())
        } else {
            let num_wanted = num_found + asked.len() as u64;
            let filler = StageFiller::new(self.session, stage.clone()).shown(
                &self.label(),
                Unit::Replies,
                num_found,
                num_wanted,
            );
            self.ask(filler, &missing, &indices, sampling, &mut known, observer)
        };
        let mut replies = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let mut rollouts = Vec::new();
            for seed in &request.rollouts {
                let key = call_key(&request.prompt, &seed.seed);
                let Some(reply) = known.get(&key) else { continue };
                let rollout = Rollout { index: seed.index, ..reply.clone() };
                if !asked.remove(&key) {
                    observer.on_rollout(index, &rollout).map_err(PortError::Stopped)?;
                }
                rollouts.push(rollout);
            }
            rollouts.sort_by_key(|rollout| rollout.index);
            replies.push(rollouts);
        }
        answered.map(|()| replies)
    }

    /// Asks the missing questions and writes the replies as they come.
    fn ask(
        &self,
        filler: StageFiller<'_, '_>,
        missing: &[GenerationRequest],
        indices: &[usize],
        sampling: &Sampling,
        known: &mut BTreeMap<String, Rollout>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<(), Error> {
        let model = self.session.open(&self.name)?;
        let mut writer = ReplyWriter {
            requests: missing,
            indices,
            filler: filler.asking(&self.name),
            known,
            observer,
            failures: BTreeMap::new(),
        };
        let generated = model.generate(missing, sampling, &mut writer);
        let ReplyWriter { filler, failures, .. } = writer;
        self.add_cost(&filler.finish([], generated.is_err())?.cost);
        self.session.add_cost(self.role, |total| {
            for (kind, count) in failures {
                *total.failures.entry(kind).or_insert(0) += count;
            }
        });
        generated?;
        Ok(())
    }

    fn score_missing(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, Error> {
        let spec = ScoresSpec { format: RECORD_FORMAT, role: self.role, model: &self.identity };
        let spec = StageSpec::new("scores", &spec)?;
        let Session { store, .. } = self.session;
        let label = format!("{} · log-probabilities", self.label());
        let key = |request: &ScoreRequest| score_key(&request.prompt, &request.continuation);
        let keys: Vec<String> = requests.iter().map(key).collect();
        let found = store.stage(&spec).find::<ScoreRecord>(&keys.iter().cloned().collect())?;
        self.session.notice_unreadable(&label, &found.unreadable);
        let mut known = found.records;
        let mut asked = BTreeSet::new();
        let missing: Vec<usize> = (0..requests.len())
            .filter(|&index| !known.contains_key(&keys[index]) && asked.insert(&keys[index]))
            .collect();
        let num_reused = (requests.len() - missing.len()) as u64;
        self.session.add_cost(self.role, |cost| cost.num_reused += num_reused);
        if !missing.is_empty() {
            let num_wanted = keys.iter().collect::<BTreeSet<_>>().len() as u64;
            let num_present = num_wanted - missing.len() as u64;
            let model = self.session.open(&self.name)?;
            let mut filler = StageFiller::new(self.session, store.stage(&spec))
                .shown(&label, Unit::Texts, num_present, num_wanted)
                .asking(&self.name);
            for batch in missing.chunks(SCORES_PER_BATCH) {
                let asked: Vec<_> = batch.iter().map(|&index| requests[index].clone()).collect();
                let mut usage = Usage::default();
                for ((&index, request), scores) in
                    batch.iter().zip(&asked).zip(model.score(&asked)?)
                {
                    usage.num_prompt_tokens += scores.logprobs.len() as u64;
                    let record = ScoreRecord { prompt: request.prompt.id.clone(), scores };
                    filler.keep(&keys[index], &record)?;
                    known.insert(keys[index].clone(), record);
                }
                filler.add_tokens(usage);
                filler.sync()?;
            }
            self.add_cost(&filler.finish([], false)?.cost);
        }
        Ok(keys.iter().map(|key| known[key].scores.clone()).collect())
    }

    fn add_cost(&self, cost: &CostRecord) {
        self.session.add_cost(self.role, |total| {
            total.num_calls += cost.num_records;
            total.usage.num_prompt_tokens += cost.num_prompt_tokens;
            total.usage.num_generated_tokens += cost.num_generated_tokens;
            total.seconds += cost.wall_secs;
            total.cost_usd += cost.cost_usd;
        });
    }
}

/// Questions without a stored reply.
struct MissingCalls {
    requests: Vec<GenerationRequest>,
    /// Index of each request among all.
    indices: Vec<usize>,
    keys: BTreeSet<String>,
    /// Number of distinct questions with a stored reply.
    num_found: u64,
    /// Number of questions that need no call: answered before, or repeated.
    num_reused: u64,
}

fn missing_calls(
    requests: &[GenerationRequest],
    known: &BTreeMap<String, Rollout>,
) -> MissingCalls {
    let (mut found, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let (mut missing, mut indices) = (Vec::new(), Vec::new());
    let mut num_requested = 0;
    for (index, request) in requests.iter().enumerate() {
        let mut rollouts = request.rollouts.clone();
        num_requested += rollouts.len() as u64;
        rollouts.retain(|seed| {
            let key = call_key(&request.prompt, &seed.seed);
            if known.contains_key(&key) {
                found.insert(key);
                return false;
            }
            // Equal questions in one call are asked once.
            keys.insert(key)
        });
        if !rollouts.is_empty() {
            missing.push(GenerationRequest { prompt: request.prompt.clone(), rollouts });
            indices.push(index);
        }
    }
    let num_reused = num_requested - keys.len() as u64;
    MissingCalls { requests: missing, indices, keys, num_found: found.len() as u64, num_reused }
}

impl Generator for CachedModel<'_, '_> {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        self.generate_missing(requests, sampling, observer).map_err(through_port)
    }
}

impl Scorer for CachedModel<'_, '_> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        self.score_missing(requests).map_err(through_port)
    }
}

/// Writes each reply as it comes and passes it on.
struct ReplyWriter<'w, 's, 'a> {
    requests: &'w [GenerationRequest],
    indices: &'w [usize],
    filler: StageFiller<'s, 'a>,
    known: &'w mut BTreeMap<String, Rollout>,
    observer: &'w mut dyn GenerationObserver,
    failures: BTreeMap<CallFailureKind, u64>,
}

impl GenerationObserver for ReplyWriter<'_, '_, '_> {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let GenerationRequest { prompt, rollouts } = &self.requests[request];
        let seed = rollouts.iter().find(|seed| seed.index == rollout.index);
        let seed = seed.expect("a model answers what it was asked").seed;
        let record = CallRecord { prompt: prompt.clone(), rollout: rollout.clone() };
        let key = call_key(prompt, &seed);
        self.filler.keep(&key, &record)?;
        self.known.insert(key, rollout.clone());
        self.observer.on_rollout(self.indices[request], rollout)
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        *self.failures.entry(failure.kind).or_insert(0) += 1;
        self.observer.on_failure(self.indices[request], index, failure);
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.filler.add_tokens(usage);
        self.observer.on_tokens(usage);
    }
}
