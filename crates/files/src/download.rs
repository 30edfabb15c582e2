//! A file from an address, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::{Error, sha256_of_file};

/// Largest file that is taken, against a server that never ends.
const MAX_DATA_BYTES: u64 = 1 << 30;

/// Fetches `url` to `target`. With a known digest nothing else is ever put there.
///
/// Returns the file's SHA-256.
pub(crate) fn download(
    url: &str,
    target: &Path,
    expected: Option<(&str, &'static str)>,
) -> Result<String, Error> {
    let folder = target.parent().expect("targets lie in folders of the cache");
    fs::create_dir_all(folder).map_err(Error::write(folder))?;
    let name = target.file_name().expect("targets have names").to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.part", std::process::id()));
    let result = download_to(url, &temporary).and_then(|()| {
        let found = sha256_of_file(&temporary)?;
        match expected {
            Some((expected, why)) if expected != found => Err(Error::WrongDigest {
                path: target.to_owned(),
                expected: expected.to_owned(),
                why,
                found,
            }),
            _ => fs::rename(&temporary, target).map_err(Error::write(target)).map(|()| found),
        }
    });
    if result.is_err() {
        // The first error counts; a left-over part is harmless.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn download_to(url: &str, temporary: &Path) -> Result<(), Error> {
    let failed = |source| Error::Download { url: url.to_owned(), source: Box::new(source) };
    let mut response = ureq::get(url).call().map_err(failed)?;
    let mut reader = response.body_mut().with_config().limit(MAX_DATA_BYTES).reader();
    let mut file = File::create(temporary).map_err(Error::write(temporary))?;
    io::copy(&mut reader, &mut file).map_err(|error| {
        // `io::copy` does not say which side failed; a network error carries ureq's own.
        if error.get_ref().is_some_and(|inner| inner.is::<ureq::Error>()) {
            failed(ureq::Error::from(error))
        } else {
            Error::Write { path: temporary.to_owned(), source: error }
        }
    })?;
    file.sync_all().map_err(Error::write(temporary))
}
