//! Indexes of segments: where the record of a key is, without reading any record.
//!
//! An index is a file of sorted entries of fixed length. It is searched on disk, so that memory does
//! not grow with the number of records, and several indexes are merged into one when there are many
//! of the same size, so that a search reads few files. An index that is missing or damaged is made
//! again from its segments.
//!
//! ```text
//! "prekeys1"  num-segments: u32  segment: u32 ..  entry ..
//! entry: hash of the key: 16 bytes  segment: u32  offset of the frame: u64
//! ```
//!
//! Numbers are big-endian, so that the order of entries is the order of their bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use preceptor_core::Digest;

use crate::{Error, replace_file};

const MAGIC: &[u8; 8] = b"prekeys1";
const ENTRY_BYTES: usize = 28;
/// Entries that are read at once: a page.
const BLOCK: u64 = 146;

/// Hash of a record's key.
pub(crate) type KeyHash = [u8; 16];

/// Returns the hash of a key.
pub(crate) fn key_hash(key: &str) -> KeyHash {
    let digest = Digest::of(key.as_bytes());
    let number = u128::from_str_radix(&digest.as_str()[..32], 16);
    number.expect("a digest is hexadecimal").to_be_bytes()
}

/// Position of a record: the frame of a segment that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) hash: KeyHash,
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..16].copy_from_slice(&self.hash);
        bytes[16..20].copy_from_slice(&self.segment.to_be_bytes());
        bytes[20..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let array = |range: std::ops::Range<usize>| &bytes[range];
        Self {
            hash: array(0..16).try_into().expect("16 bytes"),
            segment: u32::from_be_bytes(array(16..20).try_into().expect("4 bytes")),
            offset: u64::from_be_bytes(array(20..28).try_into().expect("8 bytes")),
        }
    }

    /// Returns the first bytes of the hash as a fraction of their range, in [0, 1].
    fn fraction(hash: &KeyHash) -> f64 {
        let head = u64::from_be_bytes(hash[..8].try_into().expect("8 bytes"));
        head as f64 / u64::MAX as f64
    }
}

/// An open index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) path: PathBuf,
    file: File,
    /// Numbers of the segments whose records it holds.
    pub(crate) segments: Vec<u32>,
    first_entry: u64,
    num_entries: u64,
}

impl Index {
    /// Opens an index; none if the file is not a whole index, or is gone.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        Self::read_header(path).ok()
    }

    fn read_header(path: &Path) -> io::Result<Self> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let mut word = [0; 8];
        reader.read_exact(&mut word)?;
        if word != *MAGIC {
            return Err(malformed());
        }
        let mut number = [0; 4];
        reader.read_exact(&mut number)?;
        let num_segments = u64::from(u32::from_be_bytes(number));
        let first_entry = 12 + 4 * num_segments;
        if first_entry > len || !(len - first_entry).is_multiple_of(ENTRY_BYTES as u64) {
            return Err(malformed());
        }
        let mut segments = Vec::new();
        for _ in 0..num_segments {
            reader.read_exact(&mut number)?;
            segments.push(u32::from_be_bytes(number));
        }
        let num_entries = (len - first_entry) / ENTRY_BYTES as u64;
        drop(reader);
        Ok(Self { path: path.to_owned(), file, segments, first_entry, num_entries })
    }

    /// Writes an index of `segments` with sorted `entries`.
    pub(crate) fn write(
        path: &Path,
        segments: &[u32],
        entries: impl Iterator<Item = io::Result<Entry>>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let write = |temporary: &Path| -> io::Result<()> {
            let mut out = BufWriter::new(File::create(temporary)?);
            out.write_all(MAGIC)?;
            let num_segments = u32::try_from(segments.len()).expect("fewer than 2^32 segments");
            out.write_all(&num_segments.to_be_bytes())?;
            for segment in segments {
                out.write_all(&segment.to_be_bytes())?;
            }
            for entry in entries {
                out.write_all(&entry?.to_bytes())?;
            }
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
        };
        replace_file(path, |temporary| write(temporary).map_err(failed), failed)
    }

    /// Writes the entries of `indexes` into one index at `path`.
    pub(crate) fn merge(path: &Path, indexes: &[Self]) -> Result<(), Error> {
        let mut segments: Vec<u32> =
            indexes.iter().flat_map(|index| index.segments.iter().copied()).collect();
        segments.sort_unstable();
        segments.dedup();
        let mut sources = Vec::new();
        let mut heap = BinaryHeap::new();
        for (number, index) in indexes.iter().enumerate() {
            let mut source = index.entries().map_err(Error::read(&index.path))?;
            if let Some(first) = source.next() {
                heap.push(Reverse((first.map_err(Error::read(&index.path))?, number)));
            }
            sources.push(source);
        }
        let merged = std::iter::from_fn(|| {
            let Reverse((entry, number)) = heap.pop()?;
            match sources[number].next() {
                Some(Ok(next)) => heap.push(Reverse((next, number))),
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
            Some(Ok(entry))
        });
        Self::write(path, &segments, merged)
    }

    /// Reads all entries in order.
    fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.first_entry))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        Ok((0..self.num_entries).map(move |_| {
            let mut bytes = [0; ENTRY_BYTES];
            reader.read_exact(&mut bytes)?;
            Ok(Entry::from_bytes(&bytes))
        }))
    }

    /// Adds the entries of `hash` to `found`.
    ///
    /// Hashes are uniform, so the position of one follows nearly from its value: each probe
    /// interpolates between the bounds that are known so far.
    pub(crate) fn find(&self, hash: &KeyHash, found: &mut Vec<Entry>) -> io::Result<()> {
        let wanted = Entry::fraction(hash);
        // The first entry of the hash is in low..=high.
        let (mut low, mut high) = (0, self.num_entries);
        let (mut low_fraction, mut high_fraction) = (0.0, 1.0);
        let mut block = Vec::new();
        while low < high {
            let span = high_fraction - low_fraction;
            let share = if span > 0.0 { (wanted - low_fraction) / span } else { 0.5 };
            let guess = low + (share.clamp(0.0, 1.0) * (high - low) as f64) as u64;
            let start = guess.saturating_sub(BLOCK / 2).clamp(low, high - 1);
            let end = (start + BLOCK).min(high);
            self.read(start, end, &mut block)?;
            let first_not_less = block.partition_point(|entry| entry.hash < *hash) as u64;
            if first_not_less == 0 && start > low {
                high = start;
                high_fraction = Entry::fraction(&block[0].hash);
            } else if first_not_less == end - start && end < high {
                low = end;
                low_fraction = Entry::fraction(&block[block.len() - 1].hash);
            } else {
                return self.collect(start + first_not_less, hash, found);
            }
        }
        self.collect(low, hash, found)
    }

    /// Adds the entries of `hash` from position `start` on.
    fn collect(&self, start: u64, hash: &KeyHash, found: &mut Vec<Entry>) -> io::Result<()> {
        let (mut start, mut block) = (start, Vec::new());
        while start < self.num_entries {
            let end = (start + 4).min(self.num_entries);
            self.read(start, end, &mut block)?;
            let equal = block.iter().take_while(|entry| entry.hash == *hash).count();
            found.extend_from_slice(&block[..equal]);
            if equal < block.len() {
                return Ok(());
            }
            start = end;
        }
        Ok(())
    }

    /// Reads the entries from position `start` to `end`.
    fn read(&self, start: u64, end: u64, block: &mut Vec<Entry>) -> io::Result<()> {
        let mut bytes = vec![0; (end - start) as usize * ENTRY_BYTES];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.first_entry + start * ENTRY_BYTES as u64))?;
        file.read_exact(&mut bytes)?;
        block.clear();
        block.extend(bytes.chunks_exact(ENTRY_BYTES).map(Entry::from_bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(segment: u32, keys: impl Iterator<Item = u32>) -> Vec<Entry> {
        let entry =
            |key: u32| Entry { hash: key_hash(&key.to_string()), segment, offset: u64::from(key) };
        let mut entries: Vec<_> = keys.map(entry).collect();
        entries.sort_unstable();
        entries
    }

    fn write(path: &Path, segment: u32, keys: std::ops::Range<u32>) -> Index {
        let entries = entries(segment, keys);
        Index::write(path, &[segment], entries.into_iter().map(Ok)).unwrap();
        Index::open(path).unwrap()
    }

    fn offsets(index: &Index, key: u32) -> Vec<(u32, u64)> {
        let mut found = Vec::new();
        index.find(&key_hash(&key.to_string()), &mut found).unwrap();
        found.iter().map(|entry| (entry.segment, entry.offset)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_key_is_found_and_no_other(num in 0u32..3000) {
            let folder = tempfile::tempdir().unwrap();
            let index = write(&folder.path().join("a.keys"), 7, 0..num);
            for key in 0..num {
                prop_assert_eq!(offsets(&index, key), [(7, u64::from(key))]);
            }
            for key in num..num + 50 {
                prop_assert_eq!(offsets(&index, key), []);
            }
        }
    }

    #[test]
    fn a_merged_index_holds_the_entries_of_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let both = [write(&path("a.keys"), 1, 0..1000), write(&path("b.keys"), 2, 500..1500)];
        Index::merge(&path("ab.keys"), &both).unwrap();
        let merged = Index::open(&path("ab.keys")).unwrap();
        assert_eq!(merged.segments, [1, 2]);
        assert_eq!(offsets(&merged, 3), [(1, 3)]);
        assert_eq!(offsets(&merged, 700), [(1, 700), (2, 700)]);
        assert_eq!(offsets(&merged, 1499), [(2, 1499)]);
        assert_eq!(offsets(&merged, 1500), []);
    }

    #[test]
    fn a_damaged_index_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.keys");
        write(&path, 1, 0..10);
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..9], b"", b"prekeys2\0\0\0\0"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(Index::open(&path).is_none(), "{} bytes", damaged.len());
        }
        assert!(Index::open(&folder.path().join("absent.keys")).is_none());
    }
}
