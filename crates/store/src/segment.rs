//! Segments: compressed files of records that never change, with an index each.
//!
//! A segment is a sequence of zstd frames of whole lines, so `zstdcat` prints it and a single frame
//! can be read without those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::files::{Visit, read_decoded, read_lines};
use crate::index::{Entry, Index, key_hash};
use crate::kinds::check_record;
use crate::line::{self, Line};
use crate::machine::kernel_tag;
use crate::{Error, Loaded, Stage, replace_file};

/// zstd's own default; higher levels cost more than they save on text of this size.
const COMPRESSION_LEVEL: i32 = 3;
/// Bytes of text in a frame: large enough to compress well, small enough to be read for one record.
const FRAME_BYTES: usize = 1 << 20;
/// Compressed bytes of the small file from which the next compaction makes a segment.
const MAX_SMALL_BYTES: u64 = 1 << 20;
/// Bytes of text in parts from which a compaction makes a segment.
const MAX_PART_BYTES: u64 = 8 << 20;
/// Time without a record after which the writer of a part on another machine is taken for dead.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Indexes of about the same number of segments that are merged.
const MERGED_INDEXES: usize = 8;

/// Writes lines as frames and notes where they are.
struct FrameWriter<W> {
    out: W,
    /// Bytes of the frames so far.
    offset: u64,
    text: Vec<u8>,
    entries: Vec<Entry>,
}

impl<W: Write> FrameWriter<W> {
    fn new(out: W) -> Self {
        Self { out, offset: 0, text: Vec::new(), entries: Vec::new() }
    }

    fn push(&mut self, segment: u32, key: &str, line: &str) -> io::Result<()> {
        self.entries.push(Entry { hash: key_hash(key), segment, offset: self.offset });
        self.text.extend_from_slice(line.as_bytes());
        if self.text.len() >= FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            let frame = zstd::encode_all(self.text.as_slice(), COMPRESSION_LEVEL)?;
            self.out.write_all(&frame)?;
            self.offset += frame.len() as u64;
            self.text.clear();
        }
        Ok(())
    }
}

impl Stage {
    /// Gathers the records of parts that no live writer holds, and drops these parts.
    ///
    /// A small stage has one compressed file, which is rewritten. Once it holds enough records, they
    /// become a segment that is never rewritten, so the time of a compaction does not grow with the
    /// stage. Does nothing where there are no such parts, while another process compacts, or beside parts
    /// of another machine that were written to within a day: on some file systems, locks hold on one
    /// machine only, and a machine that compacts has parts that keep the others away.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Write`]; the parts stay as they are then.
    pub fn compact(&self) -> Result<(), Error> {
        if self.files()?.parts.is_empty() || !self.store.leases().uses_locks {
            return Ok(());
        }
        // Two at once could each drop what only the other has gathered. A live writer holds its
        // part's lock. Where a file system has no locks, parts stay.
        let path = self.folder().join(".compacting");
        let lock = File::create(&path).map_err(Error::write(&path))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        // Also tells the time by the clock that stamps the parts.
        (&lock).write_all(b"\n").map_err(Error::write(&path))?;
        let files = self.files()?;
        if has_recent_part_of_another_machine(&lock, &files.parts) {
            return Ok(());
        }
        let mut held = Vec::new();
        let mut num_part_bytes = 0;
        for path in files.parts {
            let file = File::open(&path).map_err(Error::read(&path))?;
            if file.try_lock().is_ok() {
                num_part_bytes += file.metadata().map_err(Error::read(&path))?.len();
                held.push((path, file));
            }
        }
        if held.is_empty() {
            return Ok(());
        }
        let num_small_bytes = match &files.small {
            Some(path) => fs::metadata(path).map_err(Error::read(path))?.len(),
            None => 0,
        };
        let inputs: Vec<&PathBuf> =
            files.small.iter().chain(held.iter().map(|(path, _)| path)).collect();
        if num_small_bytes >= MAX_SMALL_BYTES || num_part_bytes >= MAX_PART_BYTES {
            let number = files.segments.last().map_or(0, |(last, _)| last + 1);
            self.gather_segment(&inputs, number)?;
            if let Some(path) = &files.small {
                fs::remove_file(path).map_err(Error::write(path))?;
            }
        } else {
            self.gather_small(&inputs)?;
        }
        for (path, _lock) in held {
            fs::remove_file(&path).map_err(Error::write(&path))?;
        }
        self.merge_indexes()
    }

    /// Writes the readable records of `inputs` into the small file, each key once, sorted by key: the
    /// file of a small stage does not depend on the order of its calls.
    fn gather_small(&self, inputs: &[&PathBuf]) -> Result<(), Error> {
        let path = self.small_path();
        let mut lines = BTreeMap::new();
        self.read_inputs(inputs, &mut |line| {
            let text = line::write(&line.key, &line.value);
            let text = text.map_err(|source| Error::Encode { key: line.key.clone(), source })?;
            lines.insert(line.key, text);
            Ok(())
        })?;
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut writer = FrameWriter::new(Vec::new());
        for (key, text) in &lines {
            writer.push(0, key, text).map_err(failed)?;
        }
        writer.end_frame().map_err(failed)?;
        self.store.write_whole(&path, &writer.out)
    }

    /// Writes the readable records of `inputs` into a new segment, each key once, in the order in
    /// which they were made: calls about one text are then neighbours, which compresses well.
    fn gather_segment(&self, inputs: &[&PathBuf], number: u32) -> Result<(), Error> {
        let path = self.segment_path(number);
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut entries = Vec::new();
        let write = |temporary: &Path| {
            let mut writer = FrameWriter::new(File::create(temporary).map_err(failed)?);
            self.read_inputs(inputs, &mut |line| {
                let text = line::write(&line.key, &line.value);
                let text =
                    text.map_err(|source| Error::Encode { key: line.key.clone(), source })?;
                writer.push(number, &line.key, &text).map_err(failed)
            })?;
            writer.end_frame().and_then(|()| writer.out.sync_all()).map_err(failed)?;
            entries = writer.entries;
            Ok(())
        };
        replace_file(&path, write, failed)?;
        self.write_index(number, entries)
    }

    /// Reads the readable records of `inputs`, each key once.
    fn read_inputs(
        &self,
        inputs: &[&PathBuf],
        add: &mut dyn FnMut(Line) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let kind = self.kind().unwrap_or_default();
        let mut known = BTreeSet::new();
        for path in inputs {
            let file = File::open(path).map_err(Error::read(path))?;
            read_lines(path, file, &mut |_, line| match line {
                Some(line)
                    if check_record(&kind, line.value.get()).is_ok()
                        && known.insert(key_hash(&line.key)) =>
                {
                    add(line)
                }
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    fn write_index(&self, segment: u32, mut entries: Vec<Entry>) -> Result<(), Error> {
        entries.sort_unstable();
        let path = self.folder().join(format!("segment-{segment:06}.keys"));
        Index::write(&path, &[segment], entries.into_iter().map(Ok))
    }

    /// Merges indexes while there are many of about the same number of segments.
    fn merge_indexes(&self) -> Result<(), Error> {
        loop {
            let indexes = self.files()?.indexes;
            let opened = indexes.iter().filter_map(|path| Index::open(path));
            let mut tiers: BTreeMap<u32, Vec<Index>> = BTreeMap::new();
            for index in opened {
                let tier = index.segments.len().max(1).ilog(MERGED_INDEXES);
                tiers.entry(tier).or_default().push(index);
            }
            let Some(tier) = tiers.into_values().find(|tier| tier.len() >= MERGED_INDEXES) else {
                return Ok(());
            };
            let numbers = || tier.iter().flat_map(|index| index.segments.iter());
            let (first, last) = (numbers().min(), numbers().max());
            let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
            let merged = self.folder().join(format!("segments-{first:06}-{last:06}.keys"));
            Index::merge(&merged, &tier)?;
            for index in tier.iter().filter(|index| index.path != merged) {
                fs::remove_file(&index.path).map_err(Error::write(&index.path))?;
            }
        }
    }

    /// Opens an index of every segment. Makes those that are missing or damaged.
    fn indexes(&self) -> Result<Vec<Index>, Error> {
        let files = self.files()?;
        let mut indexes: Vec<Index> =
            files.indexes.iter().filter_map(|path| Index::open(path)).collect();
        let indexed: BTreeSet<u32> =
            indexes.iter().flat_map(|index| index.segments.iter().copied()).collect();
        for (number, path) in files.segments.iter().filter(|(n, _)| !indexed.contains(n)) {
            self.write_index(*number, segment_entries(*number, path)?)?;
            indexes.extend(Index::open(&self.folder().join(format!("segment-{number:06}.keys"))));
        }
        Ok(indexes)
    }

    /// Reads the records of `keys`, without reading the whole stage. A record that is not a `T`
    /// counts as missing.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a file can't be read; [`Error::Write`] if a lost index can't be made again.
    pub fn find<T: DeserializeOwned>(&self, keys: &BTreeSet<String>) -> Result<Loaded<T>, Error> {
        let mut found = Found { wanted: keys, loaded: Loaded::default() };
        if keys.is_empty() {
            return Ok(found.loaded);
        }
        // The files that change are read first: a compaction that is made in between moves their
        // records into a segment, where they are found a second time. Segments count first all the
        // same, as in `load`, should a key have two values.
        let mut changing = Vec::new();
        self.scan_files(|_| false, &mut |_, line| {
            if line.as_ref().is_none_or(|line| keys.contains(&line.key)) {
                changing.push(line);
            }
            Ok(())
        })?;
        let mut frames = BTreeSet::new();
        let mut entries = Vec::new();
        for index in self.indexes()? {
            for key in keys {
                index.find(&key_hash(key), &mut entries).map_err(Error::read(&index.path))?;
            }
            frames.extend(entries.drain(..).map(|entry| (entry.segment, entry.offset)));
        }
        for (segment, offset) in frames {
            read_frame(&self.segment_path(segment), offset, &mut |_, line| found.add(line))?;
        }
        changing.into_iter().try_for_each(|line| found.add(line))?;
        let Found { mut loaded, .. } = found;
        loaded.unreadable.retain(|key| !loaded.records.contains_key(key));
        Ok(loaded)
    }
}

/// The records that a search wants, and those it has.
struct Found<'k, T> {
    wanted: &'k BTreeSet<String>,
    loaded: Loaded<T>,
}

impl<T: DeserializeOwned> Found<'_, T> {
    fn add(&mut self, line: Option<Line>) -> Result<(), Error> {
        match line {
            None => self.loaded.num_bad_lines += 1,
            Some(line) if self.wanted.contains(&line.key) => self.loaded.add(line),
            Some(_) => {}
        }
        Ok(())
    }
}

/// Returns true if a part of another machine was written to within a day before `now` was.
fn has_recent_part_of_another_machine(now: &File, parts: &[PathBuf]) -> bool {
    let Ok(now) = now.metadata().and_then(|metadata| metadata.modified()) else { return true };
    let own = format!("part-{}-", kernel_tag());
    let is_foreign = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with(&own)
    };
    parts.iter().filter(is_foreign).any(|path| {
        let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|changed| now.duration_since(changed).unwrap_or_default() < MAX_PAUSE)
    })
}

/// Reads the lines of the frame at `offset`.
fn read_frame(path: &Path, offset: u64, visit: &mut Visit<'_>) -> Result<(), Error> {
    let mut file = File::open(path).map_err(Error::read(path))?;
    file.seek(SeekFrom::Start(offset)).map_err(Error::read(path))?;
    let decoder = zstd::Decoder::new(file).map_err(Error::read(path))?.single_frame();
    read_decoded(path, BufReader::new(decoder), visit)
}

/// Reads a segment, frame by frame, for its index.
fn segment_entries(segment: u32, path: &Path) -> Result<Vec<Entry>, Error> {
    let mut file = BufReader::new(File::open(path).map_err(Error::read(path))?);
    let len = file.get_ref().metadata().map_err(Error::read(path))?.len();
    let mut entries = Vec::new();
    loop {
        let offset = file.stream_position().map_err(Error::read(path))?;
        if offset >= len {
            return Ok(entries);
        }
        let decoder = zstd::Decoder::with_buffer(&mut file).map_err(Error::read(path))?;
        let decoder = BufReader::new(decoder.single_frame());
        read_decoded(path, decoder, &mut |_, line| {
            let hash = line.map(|line| key_hash(&line.key));
            entries.extend(hash.map(|hash| Entry { hash, segment, offset }));
            Ok(())
        })?;
    }
}

impl<T: DeserializeOwned> Loaded<T> {
    /// Adds a record, unless its key has one already or it is not a `T`.
    pub(crate) fn add(&mut self, line: Line) {
        if self.records.contains_key(&line.key) {
            return;
        }
        match serde_json::from_str(line.value.get()) {
            Ok(record) => {
                self.records.insert(line.key, record);
            }
            Err(_) => {
                self.unreadable.insert(line.key);
            }
        }
    }
}
