//! A name for the state of a store, to notice that records were added.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;

use crate::{Error, Store};

impl Store {
    /// Returns a digest of the names and lengths of all files of stages. It changes when a record is added,
    /// by whatever process.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if a folder can't be listed.
    pub fn fingerprint(&self) -> Result<Digest, Error> {
        let mut files = BTreeSet::new();
        let stages = self.root().join("stages");
        for stage in list(&stages)? {
            for file in list(&stage)? {
                match fs::metadata(&file) {
                    Ok(metadata) => {
                        files.insert(format!("{} {}", file.display(), metadata.len()));
                    }
                    // A compaction has removed it since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(Error::Read { path: file, source }),
                }
            }
        }
        Ok(Digest::of_parts(files.iter().map(String::as_bytes)))
    }
}

/// Lists a folder; nothing if it does not exist or is a file.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(source) => return Err(failed(source)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::StageSpec;

    #[test]
    fn the_fingerprint_changes_with_each_record_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("runs")).unwrap();
        let empty = store.fingerprint().unwrap();
        let stage = store.stage(&StageSpec::new("values", &json!({})).unwrap());
        let mut writer = stage.writer();
        writer.append("a", &1).unwrap();
        let one = store.fingerprint().unwrap();
        assert_eq!(store.fingerprint().unwrap(), one);
        writer.append("b", &2).unwrap();
        let two = store.fingerprint().unwrap();
        assert!(empty != one && one != two);
    }
}
