//! Filling a stage: what is missing is made, what can't be made is noted.

use std::collections::BTreeMap;

use preceptor_store::{StageSpec, Store};
use serde::Serialize;

use crate::Error;

/// What came of one item.
pub(crate) enum Made<R> {
    /// Its record.
    Record(R),
    /// It can't be made now, for this reason; the next run tries again.
    Failed(String),
}

/// What filling a stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) num_made: u64,
    pub(crate) num_failed: u64,
}

/// Makes and appends the records of `items` whose keys are missing from the stage.
pub(crate) fn fill<'a, I, R: Serialize>(
    store: &Store,
    spec: &StageSpec,
    items: &'a [I],
    key: impl Fn(&I) -> String,
    make: impl FnOnce(&[&'a I]) -> Result<Vec<Made<R>>, Error>,
) -> Result<Filled, Error> {
    let stage = store.stage(spec);
    let present = stage.keys()?;
    let missing: Vec<&I> = items.iter().filter(|item| !present.contains(&key(item))).collect();
    let mut filled = Filled::default();
    if missing.is_empty() {
        stage.compact()?;
        return Ok(filled);
    }
    let made = make(&missing)?;
    assert_eq!(made.len(), missing.len(), "one outcome for each item");
    let mut writer = stage.writer();
    let mut failed = BTreeMap::new();
    for (item, made) in missing.iter().zip(&made) {
        match made {
            Made::Record(record) => {
                writer.append(&key(item), record)?;
                filled.num_made += 1;
            }
            Made::Failed(reason) => {
                failed.insert(key(item), reason.clone());
                filled.num_failed += 1;
            }
        }
    }
    writer.sync()?;
    drop(writer);
    let tried: Vec<String> = missing.iter().map(|item| key(item)).collect();
    stage.note_failures(tried.iter().map(String::as_str), &failed)?;
    stage.compact()?;
    Ok(filled)
}
