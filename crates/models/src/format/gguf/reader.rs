//! Header, metadata and tensor table of a GGUF file (versions 2 and 3, little endian).
//!
//! Counts and lengths in the file are hostile input: allocations are limited by the bytes that follow a
//! count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::dequantize::{READABLE, TensorType};
use crate::Error;
use crate::format::weight_source::{WeightSource, check_finite};

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<GgufValue>),
}

impl GgufValue {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a truth value",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
        }
    }
}

#[derive(Clone, Debug)]
struct TensorEntry {
    shape: Vec<usize>,
    number_type: u32,
    offset: usize,
}

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, TensorEntry>,
    /// The end of the metadata and the start of the tensor data.
    data_start: usize,
}

/// The maximum depth of lists.
const MAX_DEPTH: usize = 4;
/// The maximum number of a tensor's dimensions.
const MAX_DIMS: usize = 4;

impl GgufFile {
    /// Maps the file and reads everything before the tensor data.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], or [`Error::Malformed`] for a file that is truncated or invalid.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read_error = |source| Error::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read_error)?;
        // SAFETY: the map is read only. A program can't guard against another process that truncates the
        // file meanwhile, as with every mapped model file.
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        let mut cursor = Cursor { path, bytes: &map, at: 0 };
        if cursor.take(4, "the magic number")? != b"GGUF" {
            return Err(cursor.malformed("found no `GGUF` at the start, expected a GGUF file"));
        }
        let version = cursor.u32("the version")?;
        if version != 2 && version != 3 {
            return Err(cursor.malformed(format!("found version {version}, expected 2 or 3")));
        }
        let num_tensors = cursor.count("the number of tensors", 24)?;
        let num_keys = cursor.count("the number of metadata keys", 13)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..num_keys {
            let key = cursor.text("a metadata key")?;
            let kind = cursor.u32("a metadata type")?;
            let value = cursor.value(kind, &key, 0)?;
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..num_tensors {
            let name = cursor.text("a tensor's name")?;
            let num_dims = cursor.u32("a tensor's number of dimensions")? as usize;
            if num_dims > MAX_DIMS {
                let detail = format!(
                    "tensor `{name}` has {num_dims} dimensions, expected at most {MAX_DIMS}"
                );
                return Err(cursor.malformed(detail));
            }
            let mut shape = Vec::new();
            for _ in 0..num_dims {
                shape.push(cursor.size("a tensor's dimension")?);
            }
            shape.reverse();
            let number_type = cursor.u32("a tensor's type")?;
            let offset = cursor.size("a tensor's offset")?;
            tensors.insert(name, TensorEntry { shape, number_type, offset });
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(GgufValue::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n as usize,
            Some(other) => {
                let detail = format!(
                    "key `general.alignment` is {other:?}, expected a power of two up to 1048576"
                );
                return Err(cursor.malformed(detail));
            }
        };
        let data_start = cursor.at.next_multiple_of(alignment);
        Ok(Self { path: path.to_owned(), metadata, tensors, data_start, map })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the bytes of the whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the metadata value of `key`.
    pub fn value(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    /// Returns the keys of all metadata.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// Reads a boolean of the metadata, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a boolean.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.config_error(key, other.kind(), "true or false")),
        }
    }

    /// Returns the names of all tensors.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Reads a whole number of the metadata, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a whole number.
    pub fn integer(&self, key: &str) -> Result<Option<usize>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Unsigned(n)) => Ok(usize::try_from(*n).ok()),
            Some(GgufValue::Signed(n)) if *n >= 0 => Ok(usize::try_from(*n).ok()),
            Some(other) => Err(self.config_error(key, other.kind(), "a whole number")),
        }
    }

    /// Reads a number of the metadata, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Float(x)) => Ok(Some(*x)),
            Some(GgufValue::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(other) => Err(self.config_error(key, other.kind(), "a number")),
        }
    }

    /// Reads a string of the metadata, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.config_error(key, other.kind(), "a text")),
        }
    }

    /// Reads a list of the metadata, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a list.
    pub fn list(&self, key: &str) -> Result<Option<&[GgufValue]>, Error> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(GgufValue::List(items)) => Ok(Some(items)),
            Some(other) => Err(self.config_error(key, other.kind(), "a list")),
        }
    }

    /// Creates the error for a key with an invalid value; `found` is `nothing` if it is missing.
    pub fn config_error(&self, key: &str, found: &str, expected: &str) -> Error {
        Error::Config {
            path: self.path.clone(),
            key: key.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// Returns the number of elements of all tensors.
    pub fn num_elements(&self) -> u64 {
        self.tensors.values().map(|t| t.shape.iter().map(|d| *d as u64).product::<u64>()).sum()
    }
}

impl WeightSource for GgufFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let malformed = |detail| Error::Malformed { path: self.path.clone(), detail };
        let entry = self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            present: self.tensors.len(),
        })?;
        if entry.shape != shape {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let number_type =
            TensorType::from_number(entry.number_type).map_err(|found| Error::Unsupported {
                path: self.path.clone(),
                what: format!("tensor `{name}` of type"),
                found,
                allowed: READABLE.to_owned(),
                hint: "convert the file to one of these types",
            })?;
        let (numbers, size) = number_type.block();
        let count: usize = shape.iter().product();
        let row = shape.last().copied().unwrap_or(0);
        if !row.is_multiple_of(numbers) {
            return Err(malformed(format!(
                "tensor `{name}` has rows of {row} numbers, expected a multiple of {numbers}"
            )));
        }
        let len = count / numbers * size;
        let start = self.data_start.checked_add(entry.offset);
        let bytes = start.and_then(|start| self.map.get(start..start.checked_add(len)?));
        let bytes = bytes.ok_or_else(|| {
            malformed(format!(
                "tensor `{name}` needs {len} bytes from byte {} on, but the file ends at {}",
                self.data_start.saturating_add(entry.offset),
                self.map.len()
            ))
        })?;
        check_finite(&self.path, name, number_type.dequantize(bytes))
    }

    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        self.tensors.keys().find(|name| !read.contains(*name)).cloned()
    }
}

struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn malformed(&self, detail: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_owned(), detail: detail.into() }
    }

    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.malformed(format!(
                "{what} at byte {} needs {len} bytes, but the file ends at {}",
                self.at,
                self.bytes.len()
            )));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        Ok(self.take(N, what)?.try_into().expect("`take` gives what was asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn size(&mut self, what: &str) -> Result<usize, Error> {
        let n = u64::from_le_bytes(self.array(what)?);
        usize::try_from(n)
            .ok()
            .filter(|n| *n <= isize::MAX as usize)
            .ok_or_else(|| self.malformed(format!("{what} is {n}, more than any file holds")))
    }

    /// Reads a count of items that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: usize) -> Result<usize, Error> {
        let at = self.at;
        let n = self.size(what)?;
        let left = self.bytes.len() - self.at;
        if n > left / least {
            return Err(
                self.malformed(format!("{what} at byte {at} is {n}, but only {left} bytes follow"))
            );
        }
        Ok(n)
    }

    fn text(&mut self, what: &str) -> Result<String, Error> {
        let len = self.count(what, 1)?;
        let bytes = self.take(len, what)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<GgufValue, Error> {
        let what = format!("the value of `{key}`");
        Ok(match kind {
            0 => GgufValue::Unsigned(u64::from(self.array::<1>(&what)?[0])),
            1 => GgufValue::Signed(i64::from(i8::from_le_bytes(self.array(&what)?))),
            2 => GgufValue::Unsigned(u64::from(u16::from_le_bytes(self.array(&what)?))),
            3 => GgufValue::Signed(i64::from(i16::from_le_bytes(self.array(&what)?))),
            4 => GgufValue::Unsigned(u64::from(u32::from_le_bytes(self.array(&what)?))),
            5 => GgufValue::Signed(i64::from(i32::from_le_bytes(self.array(&what)?))),
            6 => GgufValue::Float(f64::from(f32::from_le_bytes(self.array(&what)?))),
            7 => GgufValue::Bool(self.array::<1>(&what)?[0] != 0),
            8 => GgufValue::Text(self.text(&what)?),
            9 if depth < MAX_DEPTH => {
                let kind = self.u32(&what)?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    _ => 8,
                };
                let count = self.count(&what, least)?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(kind, key, depth + 1)?);
                }
                GgufValue::List(items)
            }
            10 => GgufValue::Unsigned(u64::from_le_bytes(self.array(&what)?)),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array(&what)?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array(&what)?)),
            9 => {
                let detail = format!("{what} nests lists deeper than {MAX_DEPTH}");
                return Err(self.malformed(detail));
            }
            other => {
                let detail = format!("{what} has type {other}, expected 0 to 12");
                return Err(self.malformed(detail));
            }
        })
    }
}
