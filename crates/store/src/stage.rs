//! A stage: records of one kind, filled by any number of writers over any number of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_core::record::CostRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::index::key_hash;
use crate::kinds::check_record;
use crate::machine::kernel_tag;
use crate::{Error, StageSpec, Store, finite, line};

/// A stage of a store.
#[derive(Clone, Debug)]
pub struct Stage {
    pub(crate) store: Store,
    digest: Digest,
    spec: Option<StageSpec>,
    folder: PathBuf,
}

/// Records read from a stage.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The records by key.
    pub records: BTreeMap<String, T>,
    /// Lines that were not whole records and were skipped.
    pub num_bad_lines: u64,
    /// Keys of whole lines whose value is not a `T`, for example because it holds `null` for a
    /// number. They count as missing.
    pub unreadable: BTreeSet<String>,
}

/// The keys of a stage.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Keys of readable records.
    pub present: BTreeSet<String>,
    /// Keys that have an unreadable record and no readable one. They count as missing.
    pub unreadable: BTreeSet<String>,
}

impl<T> Default for Loaded<T> {
    fn default() -> Self {
        Self { records: BTreeMap::new(), num_bad_lines: 0, unreadable: BTreeSet::new() }
    }
}

impl Stage {
    pub(crate) fn new(store: Store, digest: Digest, spec: Option<StageSpec>) -> Self {
        let folder = store.root().join("stages").join(digest.as_str());
        Self { store, digest, spec, folder }
    }

    /// Returns the stage's name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the folder of the stage.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads every record into memory. A record that is not a `T` counts as missing, so that the next
    /// run makes it again; [`Loaded::unreadable`] names it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Loaded<T>, Error> {
        let mut loaded = Loaded::default();
        self.scan_lines(&mut |_, line| {
            match line {
                Some(line) => loaded.add(line),
                None => loaded.num_bad_lines += 1,
            }
            Ok(())
        })?;
        loaded.unreadable.retain(|key| !loaded.records.contains_key(key));
        Ok(loaded)
    }

    /// Calls `visit` with every record that is a `T`, in the order in which they are stored, with one in
    /// memory at a time. A key may come several times; the first record is the one that counts. Returns the
    /// number of bytes that were read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn read_each<T: DeserializeOwned>(
        &self,
        visit: &mut dyn FnMut(String, T),
    ) -> Result<u64, Error> {
        let mut num_bytes = 0;
        self.scan_lines(&mut |_, line| {
            if let Some(line) = line
                && let Ok(record) = serde_json::from_str(line.value.get())
            {
                num_bytes += line.value.get().len() as u64;
                visit(line.key, record);
            }
            Ok(())
        })?;
        Ok(num_bytes)
    }

    /// Returns the keys of every readable record.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn keys(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.read_keys()?.present)
    }

    /// Returns the keys of every record, readable or not.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn read_keys(&self) -> Result<Keys, Error> {
        let kind = self.kind().unwrap_or_default();
        let mut keys = Keys::default();
        self.scan_lines(&mut |_, line| {
            if let Some(line) = line
                && !keys.present.contains(&line.key)
            {
                let is_readable = check_record(&kind, line.value.get()).is_ok();
                let keys = if is_readable { &mut keys.present } else { &mut keys.unreadable };
                keys.insert(line.key);
            }
            Ok(())
        })?;
        keys.unreadable.retain(|key| !keys.present.contains(key));
        Ok(keys)
    }

    /// Calls `visit` with the key and the JSON of every readable record, in the order in which they
    /// are stored, with one record in memory at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn scan(&self, visit: &mut dyn FnMut(&str, &str)) -> Result<(), Error> {
        let kind = self.kind().unwrap_or_default();
        let mut seen = BTreeSet::new();
        self.scan_lines(&mut |_, line| {
            if let Some(line) = line
                && check_record(&kind, line.value.get()).is_ok()
                && seen.insert(key_hash(&line.key))
            {
                visit(&line.key, line.value.get());
            }
            Ok(())
        })
    }

    /// Returns the kind of the stage, where its specification is known or on the disk.
    pub fn kind(&self) -> Option<String> {
        if let Some(spec) = &self.spec {
            return Some(spec.kind().to_owned());
        }
        let spec: serde_json::Value = serde_json::from_str(&self.spec_json().ok()?).ok()?;
        spec.get("kind")?.as_str().map(str::to_owned)
    }

    /// Makes the folder with its specification, if it is not there.
    pub(crate) fn create(&self) -> Result<(), Error> {
        self.store.create_folder(&self.folder)?;
        let spec = self.spec.as_ref().expect("a stage opened by its digest can only be read");
        let path = self.folder.join("spec.json");
        if path.exists() {
            return Ok(());
        }
        self.store.write_whole(&path, spec.json().as_bytes())
    }

    /// Returns a writer with its own part, which is created with the first record.
    ///
    /// # Panics
    ///
    /// If the stage was opened by digest: without its specification it can only be read.
    pub fn writer(&self) -> Writer {
        assert!(self.spec.is_some(), "a stage opened by its digest can only be read");
        Writer { stage: self.clone(), part: None }
    }

    /// Returns the canonical specification as it was written.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if there is none.
    pub fn spec_json(&self) -> Result<String, Error> {
        let path = self.folder.join("spec.json");
        fs::read_to_string(&path).map_err(Error::read(&path))
    }

    /// Notes what a run spent on this stage.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if it can't be written.
    pub fn add_cost(&self, cost: &CostRecord) -> Result<(), Error> {
        let path = self.folder.join("cost.jsonl");
        let mut text = serde_json::to_string(cost)
            .map_err(|source| Error::Encode { key: "cost".to_owned(), source })?;
        text.push('\n');
        let opened = OpenOptions::new().append(true).create(true).open(&path);
        opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::write(&path))
    }

    /// Returns the cost of this stage in all runs together. Lines that can't be read don't count.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the file can't be read.
    pub fn cost(&self) -> Result<CostRecord, Error> {
        let path = self.folder.join("cost.jsonl");
        let mut total = CostRecord::default();
        if !path.exists() {
            return Ok(total);
        }
        let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
        for cost in text.lines().filter_map(|line| serde_json::from_str::<CostRecord>(line).ok()) {
            total.num_records += cost.num_records;
            total.num_prompt_tokens += cost.num_prompt_tokens;
            total.num_generated_tokens += cost.num_generated_tokens;
            total.wall_secs += cost.wall_secs;
            total.cost_usd += cost.cost_usd;
        }
        Ok(total)
    }
}

/// Appends records to a stage.
#[derive(Debug)]
pub struct Writer {
    stage: Stage,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Part {
    /// Returns true if a compaction on another machine, which does not see this machine's locks, took the
    /// part for that of a dead writer. It has gathered the records so far.
    fn is_gone(&self) -> bool {
        #[cfg(unix)]
        return self.file.metadata().is_ok_and(|metadata| {
            use std::os::unix::fs::MetadataExt as _;
            metadata.nlink() == 0
        });
        // Elsewhere an open file can't be removed.
        #[cfg(not(unix))]
        false
    }
}

impl Writer {
    /// Appends one record.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] for a value that holds NaN or an infinite number, which JSON can't
    /// express. [`Error::Write`] if it can't be written; the part then ends with the record before.
    pub fn append(&mut self, key: &str, value: &impl Serialize) -> Result<(), Error> {
        finite::check(value).map_err(|found| Error::NotFinite {
            stage: self.stage.kind().unwrap_or_default(),
            key: key.to_owned(),
            detail: found.to_string(),
        })?;
        let text = line::write(key, value)
            .map_err(|source| Error::Encode { key: key.to_owned(), source })?;
        if self.part.as_ref().is_none_or(Part::is_gone) {
            self.part = Some(self.create_part()?);
        }
        let part = self.part.as_mut().expect("made above");
        if let Err(source) = part.file.write_all(text.as_bytes()) {
            // If this fails too, the torn line is passed over when the part is read.
            let _ = part.file.set_len(part.len);
            return Err(Error::Write { path: part.path.clone(), source });
        }
        part.len += text.len() as u64;
        Ok(())
    }

    /// Returns the number of bytes appended so far.
    pub fn num_bytes(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.len)
    }

    /// Makes sure that everything appended is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if it is not.
    pub fn sync(&mut self) -> Result<(), Error> {
        match &self.part {
            Some(part) => part.file.sync_data().map_err(Error::write(&part.path)),
            None => Ok(()),
        }
    }

    fn create_part(&self) -> Result<Part, Error> {
        let folder = &self.stage.folder;
        self.stage.create()?;
        for number in 0_u32.. {
            let path = folder.join(format!("part-{}-{number:04}.jsonl", kernel_tag()));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    // Tells `compact` that the writer lives; where there are no locks, parts stay.
                    if self.stage.store.leases().uses_locks {
                        let _ = file.try_lock();
                    }
                    return Ok(Part { path, file, len: 0 });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Write { path, source }),
            }
        }
        unreachable!("a folder holds fewer than 2^32 parts")
    }
}
