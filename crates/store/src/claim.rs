//! Claims on stages: processes that fill one store don't repeat each other's work.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::PathBuf;

use crate::Stage;

/// A claim on a stage for this process, until it is dropped or the process ends.
///
/// On a file system without locks, and in a store that can't be written, every claim succeeds: work
/// may then be done twice, with no other harm.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// The lock, where the file system has locks.
    _file: Option<File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Waiting processes hold the open file and continue; later ones create a new file.
        let _ = fs::remove_file(&self.path);
    }
}

impl Stage {
    /// Claims the stage for this process. Returns none if another process has it, or with `wait`,
    /// blocks until that process is done.
    ///
    /// Records that were missing before may exist afterwards. A process should hold one claim at a
    /// time.
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
            // An error means that there are no locks after all.
            let _ = file.lock();
        }
        Some(Claim { path, _file: file })
    }
}
