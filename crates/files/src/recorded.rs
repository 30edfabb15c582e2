//! Digests of sources that publish none: recorded at first sight, held to ever after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The file that keeps them, in the cache.
#[derive(Debug)]
pub(crate) struct RecordedDigests {
    path: PathBuf,
    digests: BTreeMap<String, String>,
}

impl RecordedDigests {
    pub(crate) fn load(cache: &Path) -> Result<Self, Error> {
        let path = cache.join("recorded-digests.toml");
        let digests = if path.exists() {
            let text = fs::read_to_string(&path).map_err(Error::read(&path))?;
            toml::from_str(&text).map_err(|source| Error::BadRegistry {
                path: path.clone(),
                source: Box::new(source),
            })?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, digests })
    }

    pub(crate) fn get(&self, file: &str) -> Option<&str> {
        self.digests.get(file).map(String::as_str)
    }

    pub(crate) fn record(&mut self, file: &str, sha256: &str) -> Result<(), Error> {
        self.digests.insert(file.to_owned(), sha256.to_owned());
        let text = toml::to_string(&self.digests).expect("a table of strings is always TOML");
        let folder = self.path.parent().expect("the file lies in the cache");
        fs::create_dir_all(folder).map_err(Error::write(folder))?;
        let temporary = self.path.with_extension("toml.tmp");
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &self.path))
            .map_err(Error::write(&self.path))
    }
}
