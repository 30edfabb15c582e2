//! Files that are there whole or not at all: several processes may write one report at once.

use std::fs;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// Writes `bytes` to `path`, making its folder.
pub(crate) fn write_bytes(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    write_with(path, |temporary| fs::write(temporary, bytes).map_err(Error::write(path)))
}

/// Lets `write` make the file under another name beside `path`, with the same ending.
pub(crate) fn write_with(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().expect("a report's files lie in its folder");
    let name = path.file_name().expect("a report's files have names").to_string_lossy();
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".{}-{number}-{name}", process::id()));
    let written = write(&temporary);
    let renamed = written.and_then(|()| fs::rename(&temporary, path).map_err(Error::write(path)));
    if renamed.is_err() {
        // The first error counts; what is left of the temporary file goes if it can.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
