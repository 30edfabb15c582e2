//! Verification of a store: the digests of its files and records.

use std::path::PathBuf;

use preceptor_core::Digest;

use crate::stage::UnreadableLine;
use crate::{Error, Store};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A stage's specification does not have the digest that names its folder, or is missing.
    WrongSpec {
        /// The folder.
        folder: PathBuf,
    },
    /// A line that is not a whole record. Its work is done again by the next run.
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// A whole line whose value is not a record of its stage, for example with `null` for a number.
    /// Its work is done again by the next run.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The record's key.
        key: String,
        /// The reason.
        detail: String,
    },
    /// A key that occurs with two values.
    Conflict {
        /// The stage's folder.
        folder: PathBuf,
        /// The key.
        key: String,
    },
    /// A plan whose contents don't have the digest that names it.
    WrongPlan {
        /// The file.
        path: PathBuf,
    },
}

/// Result of verifying a store.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Stages that were read.
    pub num_stages: u64,
    /// Records that check.
    pub num_records: u64,
    /// The faults that were found.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Reads every stage and plan and checks every digest.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read at all.
    pub fn verify(&self) -> Result<Verification, Error> {
        let mut verification = Verification::default();
        for stage in self.stages()? {
            verification.num_stages += 1;
            let folder = stage.folder().to_owned();
            let spec = stage.spec_json().ok();
            if spec.is_none_or(|json| Digest::of(json.as_bytes()) != *stage.digest()) {
                verification.findings.push(Finding::WrongSpec { folder: folder.clone() });
            }
            let raw = stage.load_raw()?;
            verification.num_records += raw.records.len() as u64;
            let bad = raw.bad_lines.into_iter().map(|(path, line)| Finding::BadLine { path, line });
            verification.findings.extend(bad);
            let unreadable = raw.unreadable.into_iter().map(|found| {
                let UnreadableLine { path, line, key, detail } = found;
                Finding::Unreadable { path, line, key, detail }
            });
            verification.findings.extend(unreadable);
            let conflicts = raw.conflicts.into_iter();
            let conflict = |key| Finding::Conflict { folder: folder.clone(), key };
            verification.findings.extend(conflicts.map(conflict));
        }
        let folder = self.root().join("plans");
        if folder.exists() {
            let mut paths = Vec::new();
            for entry in std::fs::read_dir(&folder).map_err(Error::read(&folder))? {
                paths.push(entry.map_err(Error::read(&folder))?.path());
            }
            paths.sort();
            for path in paths {
                let bytes = std::fs::read(&path).map_err(Error::read(&path))?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                if Digest::of(&bytes).as_str() != name {
                    verification.findings.push(Finding::WrongPlan { path });
                }
            }
        }
        Ok(verification)
    }
}
