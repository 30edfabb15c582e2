//! How far an experiment is, from the store alone.

use preceptor_store::Store;

use crate::Error;
use crate::plan::{Cell, Plan, StageState};

/// How far a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Every pseudo-reference is graded.
    Done,
    /// Some records are there.
    Partial,
    /// Nothing is there.
    Missing,
}

/// One cell's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellStatus {
    /// The cell, for people.
    pub label: String,
    /// How far it is.
    pub state: CellState,
    /// Its rollouts.
    pub rollouts: StageState,
    /// Its grades.
    pub grades: StageState,
}

/// The state of every cell of `plan`.
///
/// # Errors
///
/// [`Error::Store`] if the store can't be read.
pub fn status(plan: &Plan, store: &Store) -> Result<Vec<CellStatus>, Error> {
    plan.cells().iter().map(|cell| cell_status(cell, store)).collect()
}

fn cell_status(cell: &Cell, store: &Store) -> Result<CellStatus, Error> {
    let drawn = store.stage(&cell.stages.rollouts).keys()?;
    let graded = store.stage(&cell.stages.grades).keys()?;
    let tasks = &cell.tasks.tasks;
    let wanted_rollouts = tasks.iter().flat_map(|task| {
        let id = &task.prompt.id;
        (0..cell.group_size).map(move |i| preceptor_core::record::rollout_key(id, i))
    });
    let rollouts = StageState {
        num_present: wanted_rollouts.filter(|key| drawn.contains(key)).count() as u64,
        num_wanted: tasks.len() as u64 * u64::from(cell.group_size),
    };
    let grades = StageState {
        num_present: tasks.iter().filter(|t| graded.contains(t.prompt.id.as_str())).count() as u64,
        num_wanted: tasks.len() as u64,
    };
    let state = if grades.num_present == grades.num_wanted {
        CellState::Done
    } else if rollouts.num_present > 0 {
        CellState::Partial
    } else {
        CellState::Missing
    };
    Ok(CellStatus { label: cell.label(), state, rollouts, grades })
}
