//! Records of a training run, appended step by step.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use preceptor_core::record::{
    TrainCostRecord, TrainGroupRecord, TrainStepRecord, step_group_key, step_key,
};
use preceptor_store::{Stage, Store, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::plan::cell::Training;
use crate::run::session::Session;
use crate::training::step::Outcome;

/// Bytes of groups after which they are compacted, so that a long run has no large part.
const MAX_PART_BYTES: u64 = 16 << 20;

/// Stages that a step adds to.
pub(crate) struct StepRecords {
    steps: StageWriter,
    groups: StageWriter,
    costs: StageWriter,
    /// Keys of the steps that are recorded.
    recorded: BTreeSet<String>,
    /// True once this process has recorded a step. Only the first one can have been recorded in part,
    /// by a process that was killed.
    has_recorded: bool,
}

/// Stage with a writer.
struct StageWriter {
    stage: Stage,
    writer: Writer,
}

impl StageWriter {
    fn open(stage: Stage) -> Self {
        Self { writer: stage.writer(), stage }
    }

    /// Appends records, except those that exist already if `may_exist`.
    fn append<R: Serialize + DeserializeOwned>(
        &mut self,
        records: &[(String, &R)],
        may_exist: bool,
    ) -> Result<(), Error> {
        let keys = if may_exist {
            records.iter().map(|(key, _)| key.clone()).collect()
        } else {
            BTreeSet::new()
        };
        let found = self.stage.find::<R>(&keys)?.records;
        for (key, record) in records.iter().filter(|(key, _)| !found.contains_key(key)) {
            self.writer.append(key, record)?;
        }
        Ok(self.writer.sync()?)
    }

    fn compact_if_large(&mut self) -> Result<(), Error> {
        if self.writer.num_bytes() >= MAX_PART_BYTES {
            // The old writer ends before the compaction, which leaves the parts of live ones.
            self.writer = self.stage.writer();
            self.stage.compact()?;
        }
        Ok(())
    }
}

/// Returns the time to the millisecond.
fn unix_secs() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "the end of a step is recorded as a cost only")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

impl StepRecords {
    pub(crate) fn open(store: &Store, training: &Training) -> Result<Self, Error> {
        let stage = |spec| StageWriter::open(store.stage(spec));
        let steps = stage(&training.steps);
        Ok(Self {
            recorded: steps.stage.keys()?,
            steps,
            groups: stage(&training.groups),
            costs: stage(&training.costs),
            has_recorded: false,
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
        session.confirm_claims()?;
        let record = TrainStepRecord { step, measures: outcome.measures.0.clone() };
        let key = step_key(step);
        if self.recorded.contains(&key) {
            let known = self.steps.stage.find::<TrainStepRecord>(&[key.clone()].into())?.records;
            if known.get(&key) != Some(&record) {
                session.notice(&format!(
                    "{label}: step {step} does not reproduce the stored record (another build or processor made it?); the stored record is kept"
                ));
            }
            return Ok(());
        }
        let may_exist = !std::mem::replace(&mut self.has_recorded, true);
        let groups = outcome.groups.iter();
        let groups: Vec<_> =
            groups.map(|group| (step_group_key(step, &group.prompt), group)).collect();
        self.groups.append::<TrainGroupRecord>(&groups, may_exist)?;
        let cost = TrainCostRecord { ended_at: Some(unix_secs()), ..outcome.cost.clone() };
        self.costs.append::<TrainCostRecord>(&[(key.clone(), &cost)], may_exist)?;
        self.steps.append(&[(key.clone(), &record)], false)?;
        self.recorded.insert(key);
        self.groups.compact_if_large()
    }
}
