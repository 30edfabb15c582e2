//! A run in progress: the store, the models, the options, the observer, and a summary so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use preceptor_core::{LanguageModel, ModelRole, Usage};
use preceptor_models::Model;
use preceptor_store::{Claim, Stage, Store};

use crate::Error;
use crate::models::loader::ModelLoader;
use crate::progress::{CellCounts, Progress};
use crate::run::model_pool::ModelPool;
use crate::run::summary::{RoleCost, RunOptions, RunSummary};

/// Everything that the parts of a run share.
pub(crate) struct Session<'a> {
    pub(crate) store: &'a Store,
    pub(crate) options: RunOptions,
    models: RefCell<ModelPool<'a>>,
    progress: RefCell<&'a mut dyn Progress>,
    is_quiet: Cell<bool>,
    summary: RefCell<RunSummary>,
    /// Claims that this process holds, in the order in which it took them.
    claims: RefCell<Vec<Claim>>,
    cells: Cell<CellCounts>,
    used: Cell<Usage>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        loader: &'a mut dyn ModelLoader,
        store: &'a Store,
        options: RunOptions,
        progress: &'a mut dyn Progress,
    ) -> Self {
        Self {
            store,
            options,
            models: RefCell::new(ModelPool::new(loader)),
            progress: RefCell::new(progress),
            is_quiet: Cell::new(false),
            summary: RefCell::default(),
            claims: RefCell::default(),
            cells: Cell::default(),
            used: Cell::default(),
        }
    }

    /// Runs `work` with a claim on `stage`; none if another process has it.
    pub(crate) fn try_claimed<T>(
        &self,
        stage: &Stage,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match stage.claim(false) {
            Some(claim) => self.holding(claim, work).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for a claim on `stage`, then runs `work` with it. Says for whom `label` waits.
    pub(crate) fn claimed<T>(
        &self,
        stage: &Stage,
        label: &str,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let claim = stage.claim(false).or_else(|| {
            let holder = stage.holder().ok().flatten();
            let owner = holder.map_or_else(String::new, |holder| {
                format!(" ({} on `{}`)", holder.pid, holder.host)
            });
            self.notice(&format!("{label}: waiting for another process that works on it{owner}"));
            stage.claim_while(&|| !self.options.stop.is_made())
        });
        self.holding(claim.ok_or(Error::Stopped)?, work)
    }

    fn holding<T>(
        &self,
        claim: Claim,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.claims.borrow_mut().push(claim);
        let done = work();
        let claim = self.claims.borrow_mut().pop();
        drop(claim);
        done
    }

    /// Checks that the claims are still this process's. Called before each record.
    pub(crate) fn check_claims(&self) -> Result<(), Error> {
        Ok(self.claims.borrow().iter().try_for_each(Claim::check)?)
    }

    /// Checks in the store that the claims are still this process's. Called before a training step is
    /// recorded and before checkpoints are written or removed.
    pub(crate) fn confirm_claims(&self) -> Result<(), Error> {
        Ok(self.claims.borrow().iter().try_for_each(Claim::confirm)?)
    }

    /// Stops the run here if that was asked for.
    pub(crate) fn check_stop(&self) -> Result<(), Error> {
        if self.options.stop.is_made() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Reports progress, unless a part of the run is reported as a whole.
    pub(crate) fn report(&self, report: impl FnOnce(&mut dyn Progress)) {
        if !self.is_quiet.get() {
            report(&mut **self.progress.borrow_mut());
        }
    }

    /// Changes the counts of cells and reports them.
    pub(crate) fn count_cells(&self, change: impl FnOnce(&mut CellCounts)) {
        let mut cells = self.cells.get();
        change(&mut cells);
        self.cells.set(cells);
        self.progress.borrow_mut().cells_changed(cells);
    }

    /// Reports tokens that were used, with all that was spent so far.
    pub(crate) fn use_tokens(&self, usage: Usage) {
        let mut used = self.used.get();
        used += usage;
        self.used.set(used);
        let cost_usd = self.models.borrow().total_usd();
        self.progress.borrow_mut().spent(used, cost_usd);
    }

    pub(crate) fn notice(&self, text: &str) {
        self.report(|progress| progress.notice(text));
    }

    /// Reports stored records that can't be read and are made again.
    pub(crate) fn notice_unreadable(&self, label: &str, keys: &BTreeSet<String>) {
        let Some(first) = keys.first() else { return };
        let num = keys.len();
        self.notice(&format!(
            "{label}: {num} stored records can't be read (the first is `{first}`) and are made again; `preceptor store verify` lists them"
        ));
    }

    /// Runs `part` without reporting its progress.
    pub(crate) fn without_progress<T>(&self, part: impl FnOnce() -> T) -> T {
        let was_quiet = self.is_quiet.replace(true);
        let done = part();
        self.is_quiet.set(was_quiet);
        done
    }

    /// Loads a copy of a local model, to be trained.
    pub(crate) fn load(&self, name: &str) -> Result<Model, Error> {
        self.models.borrow_mut().load(name)
    }

    /// Returns the model called `name`, and opens it first if necessary.
    pub(crate) fn open(&self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        self.models.borrow_mut().open(name)
    }

    /// Runs `part` with a trained policy that is opened by `name`.
    pub(crate) fn with_policy<T>(
        &self,
        name: &str,
        policy: Rc<dyn LanguageModel>,
        part: impl FnOnce() -> T,
    ) -> T {
        self.models.borrow_mut().register_policy(name.to_owned(), policy);
        let done = part();
        self.models.borrow_mut().unregister_policy(name);
        done
    }

    /// Returns the cost so far of calls to `name`, in USD.
    pub(crate) fn spent_usd(&self, name: &str) -> f64 {
        self.models.borrow().spent_usd(name)
    }

    pub(crate) fn add_cost(&self, role: ModelRole, add: impl FnOnce(&mut RoleCost)) {
        self.count(|summary| add(summary.roles.entry(role).or_default()));
    }

    /// Adds to the summary of the run.
    pub(crate) fn count(&self, add: impl FnOnce(&mut RunSummary)) {
        add(&mut self.summary.borrow_mut());
    }

    /// Returns the summary and begins a new one.
    pub(crate) fn take_summary(&self) -> RunSummary {
        self.summary.take()
    }
}
