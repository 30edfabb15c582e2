//! Progress of an experiment, from the store alone.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use preceptor_core::Digest;
use preceptor_core::record::{rollout_key, step_key};
use preceptor_store::{Holder, StageSpec, Store};

use crate::Error;
use crate::plan::cell::Cell;
use crate::plan::cell::Training;
use crate::plan::resolved::{Plan, StageState};

/// State of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Every record is stored.
    Done,
    /// Every record is stored or has failed; another run retries the failed ones.
    Failed,
    /// Some rollouts are stored.
    Partial,
    /// No rollout is stored.
    Missing,
}

impl CellState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Partial, Self::Missing];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Missing => "missing",
        }
    }

    /// Returns true if a run has reached the end of the cell, so that it can be reported.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// Status of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellStatus {
    /// The cell, for people.
    pub label: String,
    /// State.
    pub state: CellState,
    /// Rollouts.
    pub rollouts: StageState,
    /// Grades.
    pub grades: StageState,
    /// Rewards, if the cell derives any.
    pub rewards: Option<StageState>,
    /// Training steps, if the policy is trained.
    pub steps: Option<StageState>,
    /// Records in all its stages that could not be made.
    pub num_failed: u64,
    /// The process that works on the cell, if one does.
    pub holder: Option<Holder>,
}

/// Returns the state of every cell of `plan`.
///
/// # Errors
///
/// [`Error::Store`] if the store can't be read.
pub fn status(plan: &Plan, store: &Store) -> Result<Vec<CellStatus>, Error> {
    let mut stages = Stages { store, read: BTreeMap::new(), holders: BTreeMap::new() };
    plan.cells().iter().map(|cell| cell_status(cell, &mut stages)).collect()
}

/// Keys of stages. A stage that cells share is read once.
struct Stages<'s> {
    store: &'s Store,
    read: BTreeMap<Digest, StageKeys>,
    /// Processes by the stage that they claimed.
    holders: BTreeMap<Digest, Option<Holder>>,
}

#[derive(Default)]
struct StageKeys {
    present: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// Keys that a cell wants of a stage.
#[derive(Default)]
struct WantedKeys {
    present: BTreeSet<String>,
    num_failed: u64,
    num_wanted: u64,
}

impl Stages<'_> {
    fn holder(&mut self, cell: &Cell) -> Result<Option<Holder>, Error> {
        let spec = cell.claimed_stage();
        if !self.holders.contains_key(spec.digest()) {
            let holder = self.store.stage(spec).holder()?;
            self.holders.insert(spec.digest().clone(), holder);
        }
        Ok(self.holders[spec.digest()].clone())
    }

    fn wanted(&mut self, spec: &StageSpec, keys: &BTreeSet<String>) -> Result<WantedKeys, Error> {
        if !self.read.contains_key(spec.digest()) {
            let stage = self.store.stage(spec);
            let failed = stage.failures()?.into_keys().collect();
            let keys = StageKeys { present: stage.keys()?, failed };
            self.read.insert(spec.digest().clone(), keys);
        }
        let StageKeys { present, failed } = &self.read[spec.digest()];
        let there: BTreeSet<String> = keys.intersection(present).cloned().collect();
        Ok(WantedKeys {
            num_failed: keys.difference(present).filter(|key| failed.contains(*key)).count() as u64,
            num_wanted: keys.len() as u64,
            present: there,
        })
    }
}

impl WantedKeys {
    fn state(&self) -> StageState {
        StageState { num_present: self.present.len() as u64, num_wanted: self.num_wanted }
    }
}

fn cell_status(cell: &Cell, stages: &mut Stages<'_>) -> Result<CellStatus, Error> {
    let ids = || cell.tasks.tasks.iter().map(|task| &task.prompt.id);
    let prompts: BTreeSet<String> = ids().map(|id| id.as_str().to_owned()).collect();
    let rollouts =
        ids().flat_map(|id| (0..cell.group_size).map(move |index| rollout_key(id, index)));
    let specs = &cell.stages;
    let rollouts = stages.wanted(&specs.rollouts, &rollouts.collect())?;
    let grades = stages.wanted(&specs.grades, &prompts)?;
    let rewards = match &specs.rewards {
        Some(spec) => Some(stages.wanted(spec, &prompts)?),
        None => None,
    };
    let steps = match &cell.training {
        Some(training) => {
            let steps = (1..=u64::from(training.settings.steps)).map(step_key);
            Some(stages.wanted(&training.steps, &steps.collect())?)
        }
        None => None,
    };
    // An early end leaves steps undone that are not needed.
    let must_step = |training: &Rc<Training>| training.settings.early_stopping.is_none();
    let needed_steps = steps.iter().filter(|_| cell.training.as_ref().is_some_and(must_step));
    // Only stored rollouts are graded.
    let others = [
        stages.wanted(&specs.prompts, &prompts)?,
        stages.wanted(&specs.rollout_grades, &rollouts.present)?,
        stages.wanted(&specs.answer_classes, &prompts)?,
        stages.wanted(&specs.aggregates, &prompts)?,
    ];
    let all = || {
        [&rollouts, &grades].into_iter().chain(&rewards).chain(&others).chain(needed_steps.clone())
    };
    let num_present: u64 = all().map(|wanted| wanted.state().num_present).sum();
    let num_failed: u64 = all().map(|wanted| wanted.num_failed).sum();
    let num_wanted: u64 = all().map(|wanted| wanted.num_wanted).sum();
    let state = match (num_wanted - num_present, num_failed) {
        (0, _) => CellState::Done,
        (missing, failed) if missing == failed => CellState::Failed,
        _ if num_present > 0 && steps.is_some() => CellState::Partial,
        _ if !rollouts.present.is_empty() => CellState::Partial,
        _ => CellState::Missing,
    };
    Ok(CellStatus {
        label: cell.label(),
        state,
        rollouts: rollouts.state(),
        grades: grades.state(),
        rewards: rewards.as_ref().map(WantedKeys::state),
        steps: steps.as_ref().map(WantedKeys::state),
        num_failed,
        holder: stages.holder(cell)?,
    })
}
