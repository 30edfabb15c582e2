//! A model whose every call is kept.
//!
//! Aggregators, rewards and judges ask models through this layer. What was asked before, by whatever
//! cell or run, is read from the store; what is new is asked, and kept as it comes in. So a killed run
//! loses at most the calls in flight, a second run asks only for what is missing or failed, and a model
//! is loaded only when it has something to answer.
//!
//! Calls of one role, model and sampling are one stage. Roles are kept apart so that costs are.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::rc::Rc;
use std::time::Instant;

use preceptor_core::record::{
    CallRecord, CostRecord, RECORD_FORMAT, ScoreRecord, call_key, score_key,
};
use preceptor_core::{
    CallFailure, CallFailureKind, Digest, GenerationObserver, GenerationRequest, Generator,
    LanguageModel, ModelIdentity, ModelRole, PortError, Rollout, Sampling, ScoreRequest, Scorer,
    TokenScores, Usage,
};
use preceptor_models::Model;
use preceptor_store::{Stage, StageSpec, Store, Writer};
use serde::Serialize;

use crate::Error;
use crate::model_host::ModelHost;
use crate::progress::{Progress, Unit};

/// Score requests that are asked and kept together.
const SCORES_A_BATCH: usize = 64;

/// What calls cost, and what failed, by role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleCost {
    /// Calls that were made.
    pub num_calls: u64,
    /// Questions that an earlier call answered, in another run or in this one.
    pub num_reused: u64,
    /// Tokens read and written.
    pub usage: Usage,
    /// Wall-clock time of the calls.
    pub seconds: f64,
    /// Cost in USD, by the prices of the endpoints.
    pub cost_usd: f64,
    /// Calls that failed after their retries, by kind.
    pub failures: BTreeMap<CallFailureKind, u64>,
}

/// What the recorded models of a run share: the models, the store, who watches, what it cost.
pub(crate) struct Switchboard<'a> {
    host: RefCell<&'a mut dyn ModelHost>,
    /// Local models that are loaded, the one that was used last at the end.
    open: RefCell<Vec<(String, Rc<dyn LanguageModel>)>>,
    /// Policies that were trained here, by the names of [`crate::plan::Cell::policy_name`].
    lent: RefCell<BTreeMap<String, Rc<dyn LanguageModel>>>,
    store: &'a Store,
    progress: RefCell<&'a mut dyn Progress>,
    /// Whether who watches is told of something larger that calls belong to.
    is_quiet: Cell<bool>,
    pub(crate) costs: RefCell<BTreeMap<ModelRole, RoleCost>>,
    /// Replies by stage and key, as far as stages were read.
    replies: RefCell<BTreeMap<Digest, BTreeMap<String, Rollout>>>,
}

impl<'a> Switchboard<'a> {
    pub(crate) fn new(
        host: &'a mut dyn ModelHost,
        store: &'a Store,
        progress: &'a mut dyn Progress,
    ) -> Self {
        Self {
            host: RefCell::new(host),
            open: RefCell::new(Vec::new()),
            lent: RefCell::new(BTreeMap::new()),
            store,
            progress: RefCell::new(progress),
            is_quiet: Cell::new(false),
            costs: RefCell::new(BTreeMap::new()),
            replies: RefCell::new(BTreeMap::new()),
        }
    }

    /// Tells who watches.
    pub(crate) fn tell(&self, what: impl FnOnce(&mut dyn Progress)) {
        if !self.is_quiet.get() {
            what(&mut **self.progress.borrow_mut());
        }
    }

    /// Reports stored records that can't be read and are made again.
    pub(crate) fn tell_unreadable(&self, label: &str, keys: &BTreeSet<String>) {
        let Some(first) = keys.first() else { return };
        let num = keys.len();
        self.tell(|progress| {
            progress.notice(&format!(
                "{label}: {num} stored records can't be read (the first is `{first}`) and are made again; `preceptor store verify` lists them"
            ));
        });
    }

    /// Does `what` without telling who watches of single calls.
    pub(crate) fn quietly<T>(&self, what: impl FnOnce() -> T) -> T {
        let was_quiet = self.is_quiet.replace(true);
        let done = what();
        self.is_quiet.set(was_quiet);
        done
    }

    /// A model's own copy, to be trained.
    pub(crate) fn load(&self, name: &str) -> Result<Model, Error> {
        self.host.borrow_mut().load(name)
    }

    /// Gives a trained policy to whoever opens `name`, until it is taken back.
    pub(crate) fn lend(&self, name: String, policy: Rc<dyn LanguageModel>) {
        self.lent.borrow_mut().insert(name, policy);
    }

    /// Ends what [`Self::lend`] began.
    pub(crate) fn take_back(&self, name: &str) {
        self.lent.borrow_mut().remove(name);
    }

    /// The model called `name`, opened if it is not. Local models stay loaded while memory allows, so that
    /// an anchor, a judge and a KL reference that take turns are read from disk once.
    pub(crate) fn open(&self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        if let Some(policy) = self.lent.borrow().get(name) {
            return Ok(Rc::clone(policy));
        }
        if self.host.borrow().is_remote(name) {
            return self.host.borrow_mut().open(name);
        }
        let mut open = self.open.borrow_mut();
        if let Some(position) = open.iter().position(|(known, _)| known == name) {
            let used = open.remove(position);
            let model = Rc::clone(&used.1);
            open.push(used);
            return Ok(model);
        }
        while !open.is_empty() && !self.has_room_for(name) {
            open.remove(0);
        }
        let model = self.host.borrow_mut().open(name)?;
        open.push((name.to_owned(), Rc::clone(&model)));
        Ok(model)
    }

    /// Returns whether a model fits beside those that are loaded, with as much again for its work.
    /// Where sizes are unknown it does not.
    fn has_room_for(&self, name: &str) -> bool {
        let host = self.host.borrow();
        match (host.weight_bytes(name), host.free_bytes()) {
            (Some(needed), Some(free)) => needed.saturating_mul(2) <= free,
            _ => false,
        }
    }

    /// Returns the cost in USD of the calls to `name` so far.
    pub(crate) fn cost_usd(&self, name: &str) -> f64 {
        self.host.borrow().cost_usd(name)
    }

    pub(crate) fn add_cost(&self, role: ModelRole, add: impl FnOnce(&mut RoleCost)) {
        add(self.costs.borrow_mut().entry(role).or_default());
    }
}

/// A model in a role, every call of which is kept.
pub(crate) struct RecordedModel<'b, 'a> {
    pub(crate) board: &'b Switchboard<'a>,
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

/// An error of this crate on its way through a port.
fn through_port(error: Error) -> PortError {
    match error {
        Error::Port(error) => error,
        other => PortError::Failed { component: "the experiment", source: Box::new(other) },
    }
}

impl RecordedModel<'_, '_> {
    fn generate_missing(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, Error> {
        let format = RECORD_FORMAT;
        let spec = CallsSpec { format, role: self.role, model: &self.identity, sampling };
        let stage = self.board.store.stage(&StageSpec::new("calls", &spec)?);
        let mut known = match self.board.replies.borrow_mut().remove(stage.digest()) {
            Some(known) => known,
            None => {
                let loaded = stage.load::<CallRecord>()?;
                let label = format!("{} · {}", self.role, self.name);
                self.board.tell_unreadable(&label, &loaded.unreadable);
                loaded.records.into_iter().map(|(key, record)| (key, record.rollout)).collect()
            }
        };
        let mut missing: Vec<GenerationRequest> = Vec::new();
        // For each missing request, its number among all.
        let mut numbers = Vec::new();
        let (mut found, mut asked) = (BTreeSet::new(), BTreeSet::new());
        let mut num_requested = 0;
        for (number, request) in requests.iter().enumerate() {
            let mut rest = request.rollouts.clone();
            num_requested += rest.len() as u64;
            rest.retain(|seed| {
                let key = call_key(&request.prompt.body, &seed.seed);
                if known.contains_key(&key) {
                    found.insert(key);
                    return false;
                }
                // The same question in the same call is asked once.
                asked.insert(key)
            });
            if !rest.is_empty() {
                missing.push(GenerationRequest { prompt: request.prompt.clone(), rollouts: rest });
                numbers.push(number);
            }
        }
        let num_reused = num_requested - asked.len() as u64;
        self.board.add_cost(self.role, |cost| cost.num_reused += num_reused);
        let answered = if missing.is_empty() {
            Ok(())
        } else {
            let label = format!("{} · {}", self.role, self.name);
            let num_present = found.len() as u64;
            let num_wanted = num_present + asked.len() as u64;
            self.board.tell(|progress| {
                progress.stage_started(&label, Unit::Replies, num_present, num_wanted);
            });
            let answered = self.ask(&stage, &missing, &numbers, sampling, &mut known, observer);
            self.board.tell(|progress| progress.stage_finished());
            answered
        };
        let mut replies = Vec::with_capacity(requests.len());
        for (number, request) in requests.iter().enumerate() {
            let mut rollouts = Vec::new();
            for seed in &request.rollouts {
                let key = call_key(&request.prompt.body, &seed.seed);
                let Some(reply) = known.get(&key) else { continue };
                let rollout = Rollout { index: seed.index, ..reply.clone() };
                if !asked.remove(&key) {
                    observer.on_rollout(number, &rollout).map_err(PortError::Stopped)?;
                }
                rollouts.push(rollout);
            }
            rollouts.sort_by_key(|rollout| rollout.index);
            replies.push(rollouts);
        }
        self.board.replies.borrow_mut().insert(stage.digest().clone(), known);
        answered.map(|()| replies)
    }

    /// Asks for what is missing and keeps what comes in.
    fn ask(
        &self,
        stage: &Stage,
        missing: &[GenerationRequest],
        numbers: &[usize],
        sampling: &Sampling,
        known: &mut BTreeMap<String, Rollout>,
        observer: &mut dyn GenerationObserver,
    ) -> Result<(), Error> {
        let model = self.board.open(&self.name)?;
        let cost_before = self.board.cost_usd(&self.name);
        #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
        let started = Instant::now();
        let mut keeper = Keeper {
            board: self.board,
            requests: missing,
            numbers,
            writer: stage.writer(),
            known,
            observer,
            cost: RoleCost::default(),
        };
        let generated = model.generate(missing, sampling, &mut keeper);
        let Keeper { mut writer, cost, .. } = keeper;
        writer.sync()?;
        drop(writer);
        let cost_usd = self.board.cost_usd(&self.name) - cost_before;
        let seconds = started.elapsed().as_secs_f64();
        if cost.num_calls > 0 {
            stage.add_cost(&CostRecord {
                num_records: cost.num_calls,
                num_prompt_tokens: cost.usage.num_prompt_tokens,
                num_generated_tokens: cost.usage.num_generated_tokens,
                wall_secs: seconds,
                cost_usd,
            })?;
            stage.compact()?;
        }
        self.board.add_cost(self.role, |total| {
            total.num_calls += cost.num_calls;
            total.usage += cost.usage;
            total.cost_usd += cost_usd;
            total.seconds += seconds;
            for (kind, count) in cost.failures {
                *total.failures.entry(kind).or_insert(0) += count;
            }
        });
        generated?;
        Ok(())
    }

    fn score_missing(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, Error> {
        let spec = ScoresSpec { format: RECORD_FORMAT, role: self.role, model: &self.identity };
        let stage = self.board.store.stage(&StageSpec::new("scores", &spec)?);
        let loaded = stage.load::<ScoreRecord>()?;
        let label = format!("{} · {} · log-probabilities", self.role, self.name);
        self.board.tell_unreadable(&label, &loaded.unreadable);
        let mut known = loaded.records;
        let key = |request: &ScoreRequest| score_key(&request.prompt.body, &request.continuation);
        let keys: Vec<String> = requests.iter().map(key).collect();
        let mut asked = BTreeSet::new();
        let missing: Vec<usize> = (0..requests.len())
            .filter(|&number| !known.contains_key(&keys[number]) && asked.insert(&keys[number]))
            .collect();
        let num_reused = (requests.len() - missing.len()) as u64;
        self.board.add_cost(self.role, |cost| cost.num_reused += num_reused);
        if !missing.is_empty() {
            let num_wanted = keys.iter().collect::<BTreeSet<_>>().len() as u64;
            let num_present = num_wanted - missing.len() as u64;
            self.board.tell(|progress| {
                progress.stage_started(&label, Unit::Texts, num_present, num_wanted);
            });
            let model = self.board.open(&self.name)?;
            for batch in missing.chunks(SCORES_A_BATCH) {
                #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost")]
                let started = Instant::now();
                let asked: Vec<_> = batch.iter().map(|&number| requests[number].clone()).collect();
                let scores = model.score(&asked)?;
                let mut writer = stage.writer();
                let mut usage = Usage::default();
                for ((&number, request), scores) in batch.iter().zip(&asked).zip(scores) {
                    usage.num_prompt_tokens += scores.logprobs.len() as u64;
                    let record = ScoreRecord { prompt: request.prompt.id.clone(), scores };
                    writer.append(&keys[number], &record)?;
                    known.insert(keys[number].clone(), record);
                    self.board.tell(|progress| progress.record_added());
                }
                writer.sync()?;
                drop(writer);
                self.board.tell(|progress| progress.tokens(usage));
                let seconds = started.elapsed().as_secs_f64();
                stage.add_cost(&CostRecord {
                    num_records: batch.len() as u64,
                    num_prompt_tokens: usage.num_prompt_tokens,
                    wall_secs: seconds,
                    ..CostRecord::default()
                })?;
                self.board.add_cost(self.role, |cost| {
                    cost.num_calls += batch.len() as u64;
                    cost.usage += usage;
                    cost.seconds += seconds;
                });
            }
            stage.compact()?;
            self.board.tell(|progress| progress.stage_finished());
        }
        Ok(keys.iter().map(|key| known[key].scores.clone()).collect())
    }
}

impl Generator for RecordedModel<'_, '_> {
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

impl Scorer for RecordedModel<'_, '_> {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        self.score_missing(requests).map_err(through_port)
    }
}

/// Writes each reply as it comes in and passes it on.
struct Keeper<'k, 'a> {
    board: &'k Switchboard<'a>,
    requests: &'k [GenerationRequest],
    numbers: &'k [usize],
    writer: Writer,
    known: &'k mut BTreeMap<String, Rollout>,
    observer: &'k mut dyn GenerationObserver,
    cost: RoleCost,
}

impl GenerationObserver for Keeper<'_, '_> {
    fn on_rollout(
        &mut self,
        request: usize,
        rollout: &Rollout,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let GenerationRequest { prompt, rollouts } = &self.requests[request];
        let seed = rollouts.iter().find(|seed| seed.index == rollout.index);
        let seed = seed.expect("a model answers what it was asked").seed;
        let record = CallRecord { prompt: prompt.clone(), rollout: rollout.clone() };
        let key = call_key(&prompt.body, &seed);
        self.writer.append(&key, &record)?;
        self.known.insert(key, rollout.clone());
        self.cost.num_calls += 1;
        self.board.tell(|progress| progress.record_added());
        self.observer.on_rollout(self.numbers[request], rollout)
    }

    fn on_failure(&mut self, request: usize, index: u32, failure: &CallFailure) {
        *self.cost.failures.entry(failure.kind).or_insert(0) += 1;
        self.observer.on_failure(self.numbers[request], index, failure);
    }

    fn on_tokens(&mut self, usage: Usage) {
        self.cost.usage += usage;
        self.board.tell(|progress| progress.tokens(usage));
        self.observer.on_tokens(usage);
    }
}
