//! Files of a report's folder.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_store::replace_file;

use crate::Error;

/// Returns `name` with every character replaced that a file name should not hold.
pub(crate) fn file_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    name.chars().map(keep).collect()
}

/// Reads the notes that somebody wrote by hand; none where there are none.
pub(crate) fn read_notes(folder: &Path) -> Result<Option<String>, Error> {
    let path = folder.join("notes.md");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path);
    text.map(Some).map_err(|error| Error::Read { path, detail: error.to_string() })
}

/// Writes a file and adds its path to `files`.
pub(crate) fn write_file(path: &Path, text: &str, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    write_bytes(path, text)?;
    files.push(path.to_owned());
    Ok(())
}

/// Writes a file of a report, creating its folder.
pub(crate) fn write_bytes(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    let failed = |source| Error::write(path)(source);
    replace_file(path, |temporary| fs::write(temporary, bytes).map_err(failed), failed)
}
