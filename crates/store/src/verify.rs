//! Verification of a store: the digests of its files and records.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::PathBuf;

use preceptor_core::Digest;

use crate::index::{KeyHash, key_hash};
use crate::kinds::check_record;
use crate::{Error, Stage, Store};

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
            let records = verify_records(&stage)?;
            verification.num_records += records.num_records;
            verification.findings.extend(records.findings);
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

/// Reads every record of a stage. The first readable record of a key counts.
fn verify_records(stage: &Stage) -> Result<Verification, Error> {
    let kind = stage.kind().unwrap_or_default();
    let mut checks: BTreeMap<KeyHash, String> = BTreeMap::new();
    let (mut bad, mut unreadable, mut conflicts) = (Vec::new(), Vec::new(), BTreeSet::new());
    stage.scan_lines(&mut |place, line| {
        let (path, number) = (place.path.to_owned(), place.line);
        let Some(line) = line else {
            bad.push(Finding::BadLine { path, line: number });
            return Ok(());
        };
        if let Err(error) = check_record(&kind, line.value.get()) {
            let (key, detail) = (line.key, error.to_string());
            unreadable.push(Finding::Unreadable { path, line: number, key, detail });
            return Ok(());
        }
        match checks.entry(key_hash(&line.key)) {
            Entry::Vacant(entry) => {
                entry.insert(line.check);
            }
            Entry::Occupied(known) if *known.get() != line.check => {
                conflicts.insert(line.key);
            }
            Entry::Occupied(_) => {}
        }
        Ok(())
    })?;
    let folder = stage.folder();
    let conflict = |key| Finding::Conflict { folder: folder.to_owned(), key };
    let findings = bad.into_iter().chain(unreadable).chain(conflicts.into_iter().map(conflict));
    let num_records = checks.len() as u64;
    Ok(Verification { num_stages: 1, num_records, findings: findings.collect() })
}
