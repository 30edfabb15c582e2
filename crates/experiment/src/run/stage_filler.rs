//! Filling a stage: missing records are made and written as they come, failures and the cost are noted.

use std::collections::BTreeMap;
use std::time::Instant;

use preceptor_core::Usage;
use preceptor_core::record::CostRecord;
use preceptor_store::{Error as StoreError, Stage, StageSpec, Writer};
use serde::Serialize;

use crate::Error;
use crate::progress::Unit;
use crate::run::session::Session;

/// Writes the records of one stage.
pub(crate) struct StageFiller<'s, 'a> {
    session: &'s Session<'a>,
    stage: Stage,
    writer: Writer,
    cost: CostRecord,
    /// Reasons by key.
    failures: BTreeMap<String, String>,
    /// The model that is asked, with its cost before in USD, and since when.
    asked: Option<(String, f64, Instant)>,
    is_shown: bool,
}

impl<'s, 'a> StageFiller<'s, 'a> {
    pub(crate) fn new(session: &'s Session<'a>, stage: Stage) -> Self {
        Self {
            session,
            writer: stage.writer(),
            stage,
            cost: CostRecord::default(),
            failures: BTreeMap::new(),
            asked: None,
            is_shown: false,
        }
    }

    /// Records the time and the cost of asking `model` from now on.
    pub(crate) fn asking(self, model: &str) -> Self {
        let before = self.session.spent_usd(model);
        Self { asked: Some((model.to_owned(), before, now())), ..self }
    }

    /// Reports progress: `num_present` of `num_wanted` records are there.
    pub(crate) fn shown(self, label: &str, unit: Unit, num_present: u64, num_wanted: u64) -> Self {
        self.session.report(|progress| {
            progress.stage_started(label, unit, num_present, num_wanted);
        });
        Self { is_shown: true, ..self }
    }

    /// Writes a record.
    pub(crate) fn keep(&mut self, key: &str, record: &impl Serialize) -> Result<(), Error> {
        self.session.check_claims()?;
        self.writer.append(key, record)?;
        self.cost.num_records += 1;
        if self.is_shown {
            self.session.report(|progress| progress.record_added());
        }
        self.session.check_stop()
    }

    /// Notes that a record can't be made now. The next run tries again.
    pub(crate) fn fail(&mut self, key: String, reason: String) {
        self.failures.insert(key, reason);
        self.session.report(|progress| progress.record_failed());
    }

    /// Adds tokens that were read and written.
    pub(crate) fn add_tokens(&mut self, usage: Usage) {
        self.cost.num_prompt_tokens += usage.num_prompt_tokens;
        self.cost.num_generated_tokens += usage.num_generated_tokens;
        if self.is_shown {
            self.session.report(|progress| progress.tokens(usage));
        }
        self.session.use_tokens(usage);
    }

    /// Makes sure that everything so far is on disk.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        self.writer.sync()
    }

    /// Completes the stage and returns the cost. `tried` are the keys of every record that was asked
    /// for: those without a failure now have none any more. An interrupted stage is not reported as
    /// finished.
    pub(crate) fn finish<'k>(
        mut self,
        tried: impl IntoIterator<Item = &'k str>,
        is_interrupted: bool,
    ) -> Result<FillReport, Error> {
        self.writer.sync()?;
        drop(self.writer);
        if let Some((model, before, since)) = &self.asked {
            self.cost.wall_secs = since.elapsed().as_secs_f64();
            self.cost.cost_usd = self.session.spent_usd(model) - before;
            if self.cost.num_records > 0 {
                self.stage.add_cost(&self.cost)?;
            }
        }
        self.stage.note_failures(tried, &self.failures)?;
        // Also when nothing was missing: a killed run may have left parts.
        self.stage.compact()?;
        if self.is_shown && !is_interrupted {
            self.session.report(|progress| progress.stage_finished());
        }
        Ok(FillReport { cost: self.cost, num_failed: self.failures.len() as u64 })
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
    Instant::now()
}

/// Cost of filling a stage, and the number of records that failed.
pub(crate) struct FillReport {
    pub(crate) cost: CostRecord,
    pub(crate) num_failed: u64,
}

/// Outcome of making one record.
pub(crate) enum Outcome<R> {
    /// The record.
    Record(R),
    /// The record can't be made now, for this reason; the next run tries again.
    Failed(String),
}

/// Makes the records of `items` whose keys are missing from the stage, all at once. Returns the number
/// of those that failed.
pub(crate) fn fill<'i, I, R: Serialize>(
    session: &Session<'_>,
    spec: &StageSpec,
    items: &'i [I],
    key: impl Fn(&I) -> String,
    make: impl FnOnce(&[&'i I]) -> Result<Vec<Outcome<R>>, Error>,
) -> Result<u64, Error> {
    let stage = session.store.stage(spec);
    let present = stage.keys()?;
    let missing: Vec<&I> = items.iter().filter(|item| !present.contains(&key(item))).collect();
    if missing.is_empty() {
        stage.compact()?;
        return Ok(0);
    }
    let outcomes = make(&missing)?;
    assert_eq!(outcomes.len(), missing.len(), "one outcome for each item");
    let keys: Vec<String> = missing.iter().map(|item| key(item)).collect();
    let mut filler = StageFiller::new(session, stage);
    for (key, outcome) in keys.iter().zip(outcomes) {
        match outcome {
            Outcome::Record(record) => filler.keep(key, &record)?,
            Outcome::Failed(reason) => filler.fail(key.clone(), reason),
        }
    }
    Ok(filler.finish(keys.iter().map(String::as_str), false)?.num_failed)
}

#[cfg(test)]
mod tests {
    use preceptor_store::Store;

    use super::*;
    use crate::progress::NoProgress;
    use crate::run::summary::RunOptions;
    use crate::test_support::{ScriptedModels, store};

    fn spec() -> StageSpec {
        StageSpec::new("numbers", &["a test's"]).expect("plain data")
    }

    fn keys(store: &Store) -> Vec<String> {
        store.stage(&spec()).keys().expect("readable").into_iter().collect()
    }

    /// Makes the records of 1, 2 and 3 that are missing, except `broken`; returns the items asked for.
    fn fill_numbers(session: &Session<'_>, broken: Option<u32>) -> (Vec<u32>, u64) {
        let mut asked = Vec::new();
        let num_failed = fill(session, &spec(), &[1, 2, 3], u32::to_string, |missing| {
            asked.extend(missing.iter().map(|item| **item));
            let outcome = |item: &&u32| match broken {
                Some(number) if number == **item => Outcome::Failed("overloaded".to_owned()),
                _ => Outcome::Record(10 * **item),
            };
            Ok(missing.iter().map(outcome).collect())
        });
        (asked, num_failed.expect("writable"))
    }

    #[test]
    fn failed_records_are_noted_and_tried_again() {
        let (_folder, store) = store();
        let (mut models, mut progress) = (ScriptedModels::default(), NoProgress);
        let session = Session::new(&mut models, &store, RunOptions::default(), &mut progress);
        assert_eq!(fill_numbers(&session, Some(2)), (vec![1, 2, 3], 1));
        assert_eq!(keys(&store), ["1", "3"]);
        let noted = store.stage(&spec()).failures().unwrap();
        assert_eq!(noted, BTreeMap::from([("2".to_owned(), "overloaded".to_owned())]));

        assert_eq!(fill_numbers(&session, None), (vec![2], 0));
        assert_eq!(keys(&store), ["1", "2", "3"]);
        assert!(store.stage(&spec()).failures().unwrap().is_empty(), "the note is removed");
        assert_eq!(fill_numbers(&session, None), (vec![], 0));
    }

    #[test]
    fn an_interrupted_filler_keeps_what_it_wrote() {
        let (_folder, store) = store();
        let (mut models, mut progress) = (ScriptedModels::default(), NoProgress);
        let session = Session::new(&mut models, &store, RunOptions::default(), &mut progress);
        let mut filler = StageFiller::new(&session, store.stage(&spec()));
        filler.keep("3", &30).unwrap();
        drop(filler);
        assert_eq!(keys(&store), ["3"]);
        assert_eq!(fill_numbers(&session, None), (vec![1, 2], 0));
        let records = store.stage(&spec()).load::<u32>().unwrap().records;
        assert_eq!(records.into_values().collect::<Vec<_>>(), [10, 20, 30]);
    }
}
