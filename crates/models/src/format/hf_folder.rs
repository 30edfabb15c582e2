//! A Hugging Face folder: configuration files and safetensors weights, whole or sharded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::weight_source::{WeightSource, check_finite};
use crate::Error;

/// The name of the weights file, or of the index that lists its shards.
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A JSON file whose errors name it.
#[derive(Clone, Debug)]
pub struct JsonFile {
    path: PathBuf,
    value: Value,
}

impl JsonFile {
    /// Reads and parses a file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Malformed`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let value = serde_json::from_slice(&text).map_err(|error| Error::Malformed {
            path: path.to_owned(),
            detail: format!("it is not valid JSON: {error}"),
        })?;
        Ok(Self { path: path.to_owned(), value })
    }

    /// Reads a file that may be missing.
    ///
    /// # Errors
    ///
    /// See [`Self::read`]; a missing file is not an error.
    pub fn read_if_there(path: &Path) -> Result<Option<Self>, Error> {
        if path.is_file() { Self::read(path).map(Some) } else { Ok(None) }
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the table at `key` as a file of its own, with the same path.
    pub fn part(&self, key: &str) -> Option<Self> {
        let value = self.get(key).filter(|value| value.is_object())?.clone();
        Some(Self { path: self.path.clone(), value })
    }

    /// Returns true if the file has the key, with any value or null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// Returns the keys with their values, null included; none if the file is not a table.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        let table = self.value.as_object().into_iter().flatten();
        table.map(|(key, value)| (key.as_str(), value))
    }

    /// Returns the value at a dotted path; none if it is missing or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut value = &self.value;
        for part in key.split('.') {
            value = value.get(part)?;
        }
        (!value.is_null()).then_some(value)
    }

    /// Reads a whole number, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a whole number.
    pub fn integer(&self, key: &str) -> Result<Option<usize>, Error> {
        self.read_as(key, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// Reads a number, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.read_as(key, "a number", Value::as_f64)
    }

    /// Reads a string, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        self.read_as(key, "a text", Value::as_str)
    }

    /// Reads a boolean, if the key is present.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is not a boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read_as(key, "true or false", Value::as_bool)
    }

    fn read_as<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.config_error(key, &value.to_string(), expected)),
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
}

/// The weights of a folder.
#[derive(Debug)]
pub struct HfWeights {
    folder: PathBuf,
    shards: Vec<(PathBuf, Mmap)>,
    /// The shard of each tensor.
    owners: BTreeMap<String, usize>,
}

impl HfWeights {
    /// Maps `model.safetensors` or the shards that its index lists.
    ///
    /// # Errors
    ///
    /// [`Error::MissingFile`], [`Error::Read`] or [`Error::Malformed`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        if folder.join(WEIGHTS).is_file() {
            files.push(WEIGHTS.to_owned());
        } else if let Some(index) = JsonFile::read_if_there(&folder.join(INDEX))? {
            let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| {
                index.config_error("weight_map", "nothing", "a table of tensors and files")
            })?;
            for (tensor, file) in map {
                // A shard is beside its index; other paths are rejected.
                let file = file.as_str().filter(|f| !f.contains(['/', '\\'])).ok_or_else(|| {
                    index.config_error(
                        &format!("weight_map.{tensor}"),
                        &file.to_string(),
                        "a file name",
                    )
                })?;
                if !files.iter().any(|known| known == file) {
                    files.push(file.to_owned());
                }
            }
            files.sort();
        } else {
            return Err(Error::MissingFile {
                folder: folder.to_owned(),
                file: format!("{WEIGHTS}` or `{INDEX}"),
                hint: "only safetensors and GGUF weights can be read",
            });
        }
        let mut this =
            Self { folder: folder.to_owned(), shards: Vec::new(), owners: BTreeMap::new() };
        for file in files {
            let path = folder.join(&file);
            if !path.is_file() {
                return Err(Error::MissingFile {
                    folder: folder.to_owned(),
                    file,
                    hint: "the index lists this shard; fetch the model again",
                });
            }
            let map = map(&path)?;
            for name in parse(&path, &map)?.names() {
                this.owners.insert(name.to_owned(), this.shards.len());
            }
            this.shards.push((path, map));
        }
        Ok(this)
    }

    /// Returns the names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.owners.keys().map(String::as_str)
    }

    /// Returns the bytes of every weights file, in the order of their names.
    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.shards.iter().map(|(_, map)| &map[..])
    }
}

fn parse<'a>(path: &Path, map: &'a Mmap) -> Result<SafeTensors<'a>, Error> {
    SafeTensors::deserialize(map).map_err(|error| Error::Malformed {
        path: path.to_owned(),
        detail: format!("it is not a whole safetensors file of {} bytes: {error}", map.len()),
    })
}

impl WeightSource for HfWeights {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn contains(&self, name: &str) -> bool {
        self.owners.contains_key(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let missing = || Error::MissingTensor {
            path: self.folder.clone(),
            tensor: name.to_owned(),
            present: self.owners.len(),
        };
        let (path, map) = &self.shards[*self.owners.get(name).ok_or_else(missing)?];
        let tensors = parse(path, map)?;
        let tensor = tensors.tensor(name).map_err(|_| missing())?;
        if tensor.shape() != shape {
            return Err(Error::TensorShape {
                path: path.clone(),
                tensor: name.to_owned(),
                found: tensor.shape().to_vec(),
                expected: shape.to_vec(),
            });
        }
        check_finite(path, name, numbers(path, name, &tensor)?)
    }

    /// Ignores rotary frequencies, which old checkpoints store beside the weights: they follow from the
    /// configuration.
    fn first_unread(&self, read: &BTreeSet<String>) -> Option<String> {
        let is_unread = |name: &&String| !read.contains(*name) && !name.ends_with(".inv_freq");
        self.owners.keys().find(is_unread).cloned()
    }
}

/// Converts the values of a tensor to single precision.
fn numbers(path: &Path, name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, Error> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::F32 => {
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => {
            data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        Dtype::BF16 => {
            data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        other => {
            return Err(Error::Unsupported {
                path: path.to_owned(),
                what: format!("tensor `{name}` of type"),
                found: format!("{other:?}"),
                allowed: "F32, F16, BF16".to_owned(),
                hint: "save the model in one of these types",
            });
        }
    })
}

/// Tensors by name: shape and values.
pub type NamedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads the shape and values of every tensor in a safetensors file.
///
/// # Errors
///
/// [`Error::Read`], [`Error::Malformed`] or [`Error::Unsupported`].
pub fn read_all(path: &Path) -> Result<NamedTensors, Error> {
    let map = map(path)?;
    let tensors = parse(path, &map)?;
    let read = |(name, tensor): (String, TensorView<'_>)| {
        let values = numbers(path, &name, &tensor)?;
        Ok((name, (tensor.shape().to_vec(), values)))
    };
    tensors.tensors().into_iter().map(read).collect()
}

fn map(path: &Path) -> Result<Mmap, Error> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let handle = File::open(path).map_err(read_error)?;
    // SAFETY: read only; see `GgufFile::open`.
    unsafe { Mmap::map(&handle) }.map_err(read_error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(value: Value) -> JsonFile {
        JsonFile { path: PathBuf::from("config.json"), value }
    }

    #[test]
    fn keys_are_dotted_paths_and_null_is_missing() {
        let config = file(json!({ "rope": { "theta": 1e4, "kind": null }, "layers": 4 }));
        assert_eq!(config.float("rope.theta").expect("a number"), Some(1e4));
        assert_eq!(config.text("rope.kind").expect("missing"), None);
        assert_eq!(config.integer("layers").expect("a whole number"), Some(4));
        assert_eq!(config.integer("rope.layers").expect("missing"), None);
        let part = config.part("rope").expect("a table");
        assert_eq!(part.float("theta").expect("a number"), Some(1e4));
        assert!(config.part("layers").is_none());
    }

    #[test]
    fn values_of_another_type_are_errors_that_name_the_key() {
        let config = file(json!({ "layers": -1, "theta": "1", "bias": 0, "name": 1 }));
        for error in [
            config.integer("layers").expect_err("negative"),
            config.float("theta").expect_err("a string"),
            config.boolean("bias").expect_err("a number"),
            config.text("name").expect_err("a number"),
        ] {
            let Error::Config { key, expected, .. } = &error else { panic!("{error}") };
            assert!(["layers", "theta", "bias", "name"].contains(&key.as_str()), "{key}");
            assert!(!expected.is_empty());
        }
    }
}
