//! The records of a training run, appended step by step.

use std::collections::BTreeSet;

use preceptor_core::record::{TrainStepRecord, step_group_key, step_key};
use preceptor_store::{Stage, Writer};

use super::run::TrainRun;
use super::step::Outcome;
use crate::Error;

/// The stages that a step adds to.
pub(crate) struct StepRecords {
    steps: KeyedStage,
    groups: KeyedStage,
    costs: KeyedStage,
}

/// A stage with the keys it has.
struct KeyedStage {
    stage: Stage,
    writer: Writer,
    present: BTreeSet<String>,
}

impl KeyedStage {
    fn open(stage: Stage) -> Result<Self, Error> {
        Ok(Self { writer: stage.writer(), present: stage.keys()?, stage })
    }

    fn append(&mut self, key: String, record: &impl serde::Serialize) -> Result<(), Error> {
        if !self.present.contains(&key) {
            self.writer.append(&key, record)?;
            self.present.insert(key);
        }
        Ok(())
    }
}

impl StepRecords {
    pub(crate) fn open(run: &TrainRun<'_, '_>) -> Result<Self, Error> {
        let TrainRun { store, training, .. } = run;
        Ok(Self {
            steps: KeyedStage::open(store.stage(&training.steps))?,
            groups: KeyedStage::open(store.stage(&training.groups))?,
            costs: KeyedStage::open(store.stage(&training.costs))?,
        })
    }

    /// Keeps a step. The record of the step comes last: where it is, the others are.
    pub(crate) fn keep(
        &mut self,
        run: &TrainRun<'_, '_>,
        outcome: &Outcome,
        step: u64,
    ) -> Result<(), Error> {
        let record = TrainStepRecord { step, measures: outcome.measures.0.clone() };
        if self.steps.present.contains(&step_key(step)) {
            let known = self.steps.stage.load::<TrainStepRecord>()?.records;
            if known.get(&step_key(step)) != Some(&record) {
                run.board.tell(|progress| {
                    progress.notice(&format!(
                        "{}: step {step} was done again and its numbers differ from the stored record, which is kept: another build or another processor made it",
                        run.cell.label()
                    ));
                });
            }
            return Ok(());
        }
        for group in &outcome.groups {
            self.groups.append(step_group_key(step, &group.prompt), group)?;
        }
        self.costs.append(step_key(step), &outcome.cost)?;
        self.groups.writer.sync()?;
        self.costs.writer.sync()?;
        self.steps.append(step_key(step), &record)?;
        Ok(self.steps.writer.sync()?)
    }
}
