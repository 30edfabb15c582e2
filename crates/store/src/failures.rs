//! Failures: keys of records that could not be made.
//!
//! A failure is not a record: the next run tries again. The keys are stored beside the records,
//! each with its reason, so that a report can tell a failed call from one that was never tried.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::{Error, Stage};

impl Stage {
    fn failures_path(&self) -> PathBuf {
        self.folder().join("failures.json")
    }

    /// Returns the keys that failed in the last run that tried them, with the reasons.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the file can't be read, [`Error::Malformed`] if it is not such a list.
    pub fn failures(&self) -> Result<BTreeMap<String, String>, Error> {
        let path = self.failures_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(Error::Read { path, source }),
        };
        serde_json::from_str(&text)
            .map_err(|error| Error::Malformed { path, detail: error.to_string() })
    }

    /// Notes the failures among the keys that this run `tried`, and removes the notes of keys that
    /// it made. Keys that were not tried keep their note.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`].
    ///
    /// # Panics
    ///
    /// If the stage was opened by digest: without its specification it can only be read.
    pub fn note_failures<'a>(
        &self,
        tried: impl IntoIterator<Item = &'a str>,
        failed: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let before = self.failures()?;
        let mut failures = before.clone();
        for key in tried {
            failures.remove(key);
        }
        failures.extend(failed.iter().map(|(key, reason)| (key.clone(), reason.clone())));
        let path = self.failures_path();
        if failures.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(Error::Write { path, source: error })
                }
                _ => Ok(()),
            };
        }
        if failures == before {
            return Ok(());
        }
        let json = serde_json::to_string_pretty(&failures)
            .map_err(|source| Error::Encode { key: "failures".to_owned(), source })?;
        self.create()?;
        self.store.write_whole(&path, json.as_bytes())
    }
}
