//! Files that are there whole or not at all, whoever else writes them at the same time.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

/// Makes the file at `path`, and its folder: lets `write` make it under another name with the same
/// ending, then renames it. `failed` wraps what goes wrong with folder and name.
///
/// # Errors
///
/// Any error of `write` or `failed`; the file at `path` is then as it was.
pub fn replace_file<E>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<(), E> {
    /// Tells writers of one process apart.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidFilename.into()));
    };
    fs::create_dir_all(folder).map_err(&failed)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = name.to_string_lossy();
    let temporary = folder.join(format!(".{}-{number}-{name}", process::id()));
    let renamed = write(&temporary).and_then(|()| fs::rename(&temporary, path).map_err(&failed));
    if renamed.is_err() {
        // The first error counts; what is left of the temporary file goes if it can.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}
