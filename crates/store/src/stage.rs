//! A stage: records of one kind, filled by any number of writers over any number of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_core::record::CostRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::kinds::check_record;
use crate::{Error, StageSpec, Store, finite, line};

const COMPACTED: &str = "records.jsonl.zst";
/// zstd's own default; higher levels cost more than they save on text of this size.
const COMPRESSION_LEVEL: i32 = 3;

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

/// A whole line whose value is not a record of its stage.
pub(crate) struct UnreadableLine {
    pub(crate) path: PathBuf,
    pub(crate) line: u64,
    pub(crate) key: String,
    pub(crate) detail: String,
}

/// Raw contents, before they are typed.
pub(crate) struct Raw {
    pub(crate) records: BTreeMap<String, Box<RawValue>>,
    /// File and line number of lines whose check fails.
    pub(crate) bad_lines: Vec<(PathBuf, u64)>,
    /// Keys that occur with different values.
    pub(crate) conflicts: BTreeSet<String>,
    /// Lines whose check passes, but whose value is not of the stage's type. They are not among
    /// `records`.
    pub(crate) unreadable: Vec<UnreadableLine>,
}

/// Reads a value as a record.
type Accept<'a> = dyn FnMut(&str, &str) -> serde_json::Result<()> + 'a;

impl Raw {
    /// Keys that have no readable record.
    fn missing(&self) -> BTreeSet<String> {
        let keys = self.unreadable.iter().map(|line| &line.key);
        keys.filter(|key| !self.records.contains_key(*key)).cloned().collect()
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

    /// Reads every record. A record that is not a `T` counts as missing, so that the next run makes
    /// it again; [`Loaded::unreadable`] names it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Loaded<T>, Error> {
        let mut records = BTreeMap::new();
        let raw = self.load_with(&mut |key, value| {
            let record: T = serde_json::from_str(value)?;
            if !records.contains_key(key) {
                records.insert(key.to_owned(), record);
            }
            Ok(())
        })?;
        let unreadable = raw.missing();
        Ok(Loaded { records, num_bad_lines: raw.bad_lines.len() as u64, unreadable })
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
        let raw = self.load_raw()?;
        let unreadable = raw.missing();
        Ok(Keys { present: raw.records.into_keys().collect(), unreadable })
    }

    /// Returns the kind of the stage, where its specification is known or on the disk.
    fn kind(&self) -> Option<String> {
        if let Some(spec) = &self.spec {
            return Some(spec.kind().to_owned());
        }
        let spec: serde_json::Value = serde_json::from_str(&self.spec_json().ok()?).ok()?;
        spec.get("kind")?.as_str().map(str::to_owned)
    }

    /// Reads every record that is of the type of the stage's kind.
    pub(crate) fn load_raw(&self) -> Result<Raw, Error> {
        let kind = self.kind().unwrap_or_default();
        self.load_with(&mut |_, value| check_record(&kind, value))
    }

    /// Reads every record that `accept` accepts.
    fn load_with(&self, accept: &mut Accept<'_>) -> Result<Raw, Error> {
        let mut raw = Raw {
            records: BTreeMap::new(),
            bad_lines: Vec::new(),
            conflicts: BTreeSet::new(),
            unreadable: Vec::new(),
        };
        let compacted = self.folder.join(COMPACTED);
        if compacted.exists() {
            let file = File::open(&compacted).map_err(Error::read(&compacted))?;
            let reader = zstd::Decoder::new(file).map_err(Error::read(&compacted))?;
            read_lines(&compacted, BufReader::new(reader), &mut raw, accept)?;
        }
        for path in self.parts()? {
            let file = match File::open(&path) {
                Ok(file) => file,
                // Another process has compacted it since: its records are in the other file.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return self.load_with(accept);
                }
                Err(source) => return Err(Error::Read { path, source }),
            };
            read_lines(&path, BufReader::new(file), &mut raw, accept)?;
        }
        Ok(raw)
    }

    /// Returns the existing parts, by name.
    fn parts(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::read(&self.folder))? {
            let path = entry.map_err(Error::read(&self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("part-") && name.ends_with(".jsonl") {
                parts.push(path);
            }
        }
        parts.sort();
        Ok(parts)
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

    /// Gathers all readable records in one compressed file and drops the parts that no live writer
    /// holds. Does nothing where there are no such parts, or while another process is at it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`]; the parts stay as they are then.
    pub fn compact(&self) -> Result<(), Error> {
        if self.parts()?.is_empty() {
            return Ok(());
        }
        // Two at once could each drop what only the other has gathered. A live writer holds its
        // part's lock. Where a file system has no locks, parts stay.
        let lock = self.folder.join(".compacting");
        let lock = File::create(&lock).map_err(Error::write(&lock))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        let mut held = Vec::new();
        for path in self.parts()? {
            let file = File::open(&path).map_err(Error::read(&path))?;
            if file.try_lock().is_ok() {
                held.push((path, file));
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        let raw = self.load_raw()?;
        let mut encoder = zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)
            .map_err(Error::write(&self.folder))?;
        for (key, value) in &raw.records {
            let text = line::write(key, value)
                .map_err(|source| Error::Encode { key: key.clone(), source })?;
            encoder.write_all(text.as_bytes()).map_err(Error::write(&self.folder))?;
        }
        let bytes = encoder.finish().map_err(Error::write(&self.folder))?;
        self.store.write_whole(&self.folder.join(COMPACTED), &bytes)?;
        for (path, _lock) in held {
            fs::remove_file(&path).map_err(Error::write(&path))?;
        }
        Ok(())
    }
}

fn read_lines(
    path: &Path,
    mut reader: impl std::io::BufRead,
    raw: &mut Raw,
    accept: &mut Accept<'_>,
) -> Result<(), Error> {
    let mut number = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // A damaged compressed file ends here; what was read before stands.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                raw.bad_lines.push((path.to_owned(), number + 1));
                return Ok(());
            }
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        }
        number += 1;
        let whole = bytes.strip_suffix(b"\n");
        let record = whole.and_then(|line| std::str::from_utf8(line).ok()).and_then(line::read);
        let Some(record) = record else {
            raw.bad_lines.push((path.to_owned(), number));
            continue;
        };
        match accept(&record.key, record.value.get()) {
            Err(error) => raw.unreadable.push(UnreadableLine {
                path: path.to_owned(),
                line: number,
                key: record.key,
                detail: error.to_string(),
            }),
            Ok(()) => match raw.records.get(&record.key) {
                Some(known) if known.get() != record.value.get() => {
                    raw.conflicts.insert(record.key);
                }
                Some(_) => {}
                None => {
                    raw.records.insert(record.key, record.value);
                }
            },
        }
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
        if self.part.is_none() {
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
            let path = folder.join(format!("part-{number:04}.jsonl"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    // Tells `compact` that the writer lives; where there are no locks, parts stay.
                    let _ = file.try_lock();
                    return Ok(Part { path, file, len: 0 });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Write { path, source }),
            }
        }
        unreachable!("a folder holds fewer than 2^32 parts")
    }
}
