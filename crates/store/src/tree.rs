//! The store's folder.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, LeaseSettings, Stage, StageSpec, replace_file};

/// The version of the layout that this code writes.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct FormatFile {
    format: u32,
}

/// A folder of stages and plans. Nothing is created before something is written.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    leases: LeaseSettings,
}

impl Store {
    /// Opens the store in `root`, which need not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the folder holds a store of a later format.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self { root: root.into(), leases: LeaseSettings::default() };
        let path = store.root.join("format.json");
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
            let found: FormatFile = serde_json::from_str(&text).map_err(|error| {
                Error::Malformed { path: path.clone(), detail: error.to_string() }
            })?;
            if found.format != FORMAT {
                let detail = format!(
                    "the store has format {}, this program reads format {FORMAT}\nhint: name another store with `--store DIR`",
                    found.format
                );
                return Err(Error::Malformed { path, detail });
            }
        }
        Ok(store)
    }

    /// Sets how claims are kept.
    pub fn with_leases(self, leases: LeaseSettings) -> Self {
        Self { leases, ..self }
    }

    pub(crate) fn leases(&self) -> LeaseSettings {
        self.leases
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the stage of `spec`, whether it exists or not.
    pub fn stage(&self, spec: &StageSpec) -> Stage {
        Stage::new(self.clone(), spec.digest().clone(), Some(spec.clone()))
    }

    /// Returns the stage named by `digest`, to be read.
    pub fn stage_by_digest(&self, digest: &Digest) -> Stage {
        Stage::new(self.clone(), digest.clone(), None)
    }

    /// Returns the digests of all stages, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the folder can't be listed.
    pub fn stages(&self) -> Result<Vec<Stage>, Error> {
        let folder = self.root.join("stages");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
            let entry = entry.map_err(Error::read(&folder))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let digest_of = |name: String| serde_json::from_value(serde_json::Value::String(name));
        let digests = names.into_iter().filter_map(|name| digest_of(name).ok());
        Ok(digests.map(|digest: Digest| self.stage_by_digest(&digest)).collect())
    }

    /// Keeps a plan under its own digest, which it returns. Writing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if it can't be written.
    pub fn put_plan(&self, plan: &impl Serialize) -> Result<Digest, Error> {
        let json = serde_json::to_string_pretty(plan)
            .map_err(|source| Error::Encode { key: "plan".to_owned(), source })?;
        let digest = Digest::of(json.as_bytes());
        let path = self.plan_path(&digest);
        if !path.exists() {
            self.write_whole(&path, json.as_bytes())?;
        }
        Ok(digest)
    }

    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if there is none, [`Error::Malformed`] if it is not a plan.
    pub fn plan<T: DeserializeOwned>(&self, digest: &Digest) -> Result<T, Error> {
        let path = self.plan_path(digest);
        let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Malformed { path, detail: error.to_string() })
    }

    /// Returns the digests of all plans, sorted.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the folder can't be listed.
    pub fn plans(&self) -> Result<Vec<Digest>, Error> {
        let folder = self.root.join("plans");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::read(&folder))? {
            let name = entry.map_err(Error::read(&folder))?.file_name();
            names.extend(name.to_string_lossy().strip_suffix(".json").map(str::to_owned));
        }
        names.sort();
        let digest_of = |name: String| serde_json::from_value(serde_json::Value::String(name));
        Ok(names.into_iter().filter_map(|name| digest_of(name).ok()).collect())
    }

    fn plan_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("plans").join(format!("{digest}.json"))
    }

    /// Creates `folder` below the root, and the format file with the first of them.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).map_err(Error::write(folder))?;
        let path = self.root.join("format.json");
        if !path.exists() {
            let json = serde_json::to_string(&FormatFile { format: FORMAT })
                .map_err(|source| Error::Encode { key: "format".to_owned(), source })?;
            self.write_whole(&path, json.as_bytes())?;
        }
        Ok(())
    }

    /// Writes a file whole or not at all: into a temporary neighbour, synced, then renamed.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let write = |temporary: &Path| {
            let mut file = fs::File::create(temporary).map_err(failed)?;
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
        };
        replace_file(path, write, failed)
    }
}
