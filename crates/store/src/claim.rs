//! Claims on stages: processes that fill one store don't repeat each other's work.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;

use crate::Stage;

/// A stage that belongs to this process until this is dropped, or the process ends.
///
/// Where a file system has no locks, or the store can't be written, everyone has what they ask for:
/// then work may be done twice, and nothing worse.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Locked where there are locks.
    _file: Option<File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Who waits holds the file and goes on; who comes later makes another.
        let _ = fs::remove_file(&self.path);
    }
}

impl Stage {
    /// Takes the stage for this process. None where another one has it, but with `wait`: then once that
    /// one is done.
    ///
    /// What was missing before may be there afterwards. A process should hold one claim at a time.
    pub fn claim(&self, wait: bool) -> Option<Claim> {
        let folder = self.store.root().join("claims");
        let path = folder.join(self.digest().as_str());
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = fs::create_dir_all(&folder).and_then(|()| open()).ok();
        if let Some(file) = &file
            && let Err(TryLockError::WouldBlock) = file.try_lock()
        {
            if !wait {
                return None;
            }
            // An error says that there are no locks after all.
            let _ = file.lock();
        }
        Some(Claim { path, _file: file })
    }
}
