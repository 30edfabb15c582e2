//! Units of work of a plan: what one process does without waiting for another.

use std::collections::BTreeSet;

use preceptor_core::Digest;
use preceptor_store::Store;

use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::plan::cell::{Cell, RolloutDemand, Training};
use crate::plan::course::{Course, Decision};
use crate::plan::resolved::Plan;
use crate::plan::status::{CellState, status};

/// Cells that share a set of rollouts or a training run, so that two processes can't work on them at the
/// same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkUnit {
    /// Benchmark, model and seed, or the training run, for people.
    pub label: String,
    /// Labels of the cells.
    pub cells: Vec<String>,
    /// Name of the stage that a process claims to work on them.
    pub claim: Digest,
}

impl Plan {
    /// Returns the units of work, in the order in which they should begin: sets of rollouts, then training
    /// runs. Of the training runs that share rollouts of the initial policy, one comes first: the others
    /// would wait for those rollouts.
    pub fn work_units(&self) -> Vec<WorkUnit> {
        self.grouped_cells().into_iter().map(|cells| unit(&cells)).collect()
    }

    /// Returns the indices of the units that lack a record, also one of an evaluation during training.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn unfinished_units(&self, store: &Store) -> Result<Vec<usize>, Error> {
        let mut unfinished = BTreeSet::new();
        for (cell, status) in self.cells.iter().zip(status(self, store)?) {
            if status.state != CellState::Done || !is_evaluated(cell, store)? {
                unfinished.insert(cell.claimed_stage().digest().clone());
            }
        }
        let units = self.work_units().into_iter().enumerate();
        Ok(units.filter(|(_, unit)| unfinished.contains(&unit.claim)).map(|(i, _)| i).collect())
    }

    /// Keeps the cells of the unit with this index; none if there is no such unit.
    pub fn retain_unit(&mut self, index: usize) -> Option<WorkUnit> {
        let unit = self.work_units().into_iter().nth(index)?;
        self.cells.retain(|cell| *cell.claimed_stage().digest() == unit.claim);
        Some(unit)
    }

    /// Returns a digest of what the plan would store. Resources, paths and the version of the program are
    /// no part of it. It is that of the plan as resolved, before [`Plan::settle`].
    pub fn digest(&self) -> Digest {
        let units = self.work_units();
        let cells = self.cells.iter().map(|cell| cell.id().as_str());
        let parts = cells.chain(units.iter().map(|unit| unit.claim.as_str()));
        Digest::of_parts(parts.map(str::as_bytes))
    }

    fn grouped_cells(&self) -> Vec<Vec<&Cell>> {
        let mut units: Vec<Vec<&Cell>> = Vec::new();
        for cell in &self.cells {
            match units.iter_mut().find(|unit| unit[0].claimed_stage() == cell.claimed_stage()) {
                Some(unit) => unit.push(cell),
                None => units.push(vec![cell]),
            }
        }
        let mut shared = BTreeSet::new();
        // Sorting is stable: within a rank, the order of the manifest stays.
        let mut ranked: Vec<(u8, Vec<&Cell>)> = Vec::new();
        for unit in units {
            let rank = match &unit[0].training {
                None => 0,
                Some(training) => {
                    let of_initial_policy = initial_rollouts(training);
                    let is_first = of_initial_policy.iter().any(|stage| !shared.contains(stage));
                    shared.extend(of_initial_policy);
                    if is_first { 1 } else { 2 }
                }
            };
            ranked.push((rank, unit));
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, unit)| unit).collect()
    }
}

/// Returns true if every evaluation of the cell's training run is graded.
fn is_evaluated(cell: &Cell, store: &Store) -> Result<bool, Error> {
    let Some(training) = &cell.training else { return Ok(true) };
    let course = Course { training, store };
    let Decision::Made { last, .. } = course.decide()? else { return Ok(false) };
    for evaluation in training.evaluations.iter().filter(|known| known.step <= last) {
        if !course.is_graded(evaluation)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the stages of rollouts of the initial policy that a training run needs.
fn initial_rollouts(training: &Training) -> Vec<Digest> {
    let evaluations = training.evaluations_of(0).map(|evaluation| &evaluation.demand.cell);
    let targets = match &training.objective {
        ObjectiveSettings::Sft(_) => Some(training.untrained()),
        ObjectiveSettings::Grpo(_) => None,
    };
    evaluations.chain(targets).map(|cell| cell.stages.rollouts.digest().clone()).collect()
}

fn unit(cells: &[&Cell]) -> WorkUnit {
    let demand = RolloutDemand { cell: cells[0].clone(), group_size: cells[0].group_size };
    WorkUnit {
        label: demand.label(),
        cells: cells.iter().map(|cell| cell.label()).collect(),
        claim: cells[0].claimed_stage().digest().clone(),
    }
}
