//! Records of a training run, appended step by step.

use std::collections::BTreeSet;

use preceptor_core::record::{TrainStepRecord, step_group_key, step_key};
use preceptor_store::{Stage, Store, Writer};

use crate::Error;
use crate::plan::cell::Training;
use crate::run::session::Session;
use crate::training::step::Outcome;

/// Stages that a step adds to.
pub(crate) struct StepRecords {
    steps: KeyedStage,
    groups: KeyedStage,
    costs: KeyedStage,
}

/// Stage with its keys.
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
    pub(crate) fn open(store: &Store, training: &Training) -> Result<Self, Error> {
        Ok(Self {
            steps: KeyedStage::open(store.stage(&training.steps))?,
            groups: KeyedStage::open(store.stage(&training.groups))?,
            costs: KeyedStage::open(store.stage(&training.costs))?,
        })
    }

    /// Writes a step. The record of the step comes last: if it exists, so do the others.
    pub(crate) fn keep(
        &mut self,
        session: &Session<'_>,
        label: &str,
        outcome: &Outcome,
        step: u64,
    ) -> Result<(), Error> {
        let record = TrainStepRecord { step, measures: outcome.measures.0.clone() };
        if self.steps.present.contains(&step_key(step)) {
            let known = self.steps.stage.load::<TrainStepRecord>()?.records;
            if known.get(&step_key(step)) != Some(&record) {
                session.notice(&format!(
                    "{label}: step {step} does not reproduce the stored record (another build or processor made it?); the stored record is kept"
                ));
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
