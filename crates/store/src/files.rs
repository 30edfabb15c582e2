//! The files of a stage that hold records, and reading their lines.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::line::{self, Line};
use crate::{Error, Stage};

/// Name of the file that gathers the records of a small stage.
const SMALL: &str = "records.jsonl.zst";

/// The files of a stage at one moment.
#[derive(Debug, Default)]
pub(crate) struct RecordFiles {
    /// Segments by number. They never change and are never removed.
    pub(crate) segments: Vec<(u32, PathBuf)>,
    /// The file of records that are too few for a segment. It is rewritten with each compaction.
    pub(crate) small: Option<PathBuf>,
    /// Parts of writers, by name.
    pub(crate) parts: Vec<PathBuf>,
    /// Indexes of segments, by name.
    pub(crate) indexes: Vec<PathBuf>,
}

/// A place in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) path: &'p Path,
    /// The line, from 1.
    pub(crate) line: u64,
}

/// A line of a file, or a place where there is no whole record.
pub(crate) type Visit<'v> = dyn FnMut(Place<'_>, Option<Line>) -> Result<(), Error> + 'v;

impl Stage {
    /// Returns the path of the file of a small stage.
    pub(crate) fn small_path(&self) -> PathBuf {
        self.folder().join(SMALL)
    }

    /// Returns the path of a segment.
    pub(crate) fn segment_path(&self, number: u32) -> PathBuf {
        self.folder().join(format!("segment-{number:06}.jsonl.zst"))
    }

    /// Lists the files with records.
    pub(crate) fn files(&self) -> Result<RecordFiles, Error> {
        let mut files = RecordFiles::default();
        let entries = match fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            // Nothing was written yet; a path below a file is refused when something is.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(files);
            }
            Err(source) => return Err(Error::Read { path: self.folder().to_owned(), source }),
        };
        for entry in entries {
            let path = entry.map_err(Error::read(self.folder()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let between = |prefix, suffix| name.strip_prefix(prefix)?.strip_suffix(suffix);
            if name == SMALL {
                files.small = Some(path);
            } else if between("part-", ".jsonl").is_some() {
                files.parts.push(path);
            } else if let Some(number) = between("segment-", ".jsonl.zst") {
                let number = number.parse().map_err(|_| Error::Malformed {
                    detail: format!("expected a number after `segment-`, found `{number}`"),
                    path: path.clone(),
                })?;
                files.segments.push((number, path));
            } else if !name.starts_with('.') && name.ends_with(".keys") {
                files.indexes.push(path);
            }
        }
        files.segments.sort();
        files.parts.sort();
        files.indexes.sort();
        Ok(files)
    }

    /// Reads every line: those of segments, then those of the small file, then those of parts.
    pub(crate) fn scan_lines(&self, visit: &mut Visit<'_>) -> Result<(), Error> {
        self.scan_files(|_| true, visit)
    }

    /// Reads every line of the segments that `wants` accepts, of the small file and of all parts.
    pub(crate) fn scan_files(
        &self,
        wants: impl Fn(u32) -> bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let (files, opened) = self.open_files()?;
        for (_, path) in files.segments.iter().filter(|(number, _)| wants(*number)) {
            read_lines(path, File::open(path).map_err(Error::read(path))?, visit)?;
        }
        for (path, file) in opened {
            read_lines(&path, file, visit)?;
        }
        Ok(())
    }

    /// Lists the files and opens those that a compaction removes. A reader that opened one of them
    /// too late would miss its records.
    fn open_files(&self) -> Result<(RecordFiles, Vec<(PathBuf, File)>), Error> {
        loop {
            let files = self.files()?;
            let mut opened = Vec::new();
            let mut is_stale = false;
            for path in files.small.iter().chain(&files.parts) {
                match File::open(path) {
                    Ok(file) => opened.push((path.clone(), file)),
                    // Another process has compacted the stage since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => is_stale = true,
                    Err(source) => return Err(Error::Read { path: path.clone(), source }),
                }
            }
            if !is_stale {
                return Ok((files, opened));
            }
        }
    }
}

/// Reads the lines of an open file, compressed or not, as its name says.
pub(crate) fn read_lines(path: &Path, file: File, visit: &mut Visit<'_>) -> Result<(), Error> {
    if path.extension().is_some_and(|extension| extension == "zst") {
        let reader = zstd::Decoder::new(file).map_err(Error::read(path))?;
        read_decoded(path, BufReader::new(reader), visit)
    } else {
        read_decoded(path, BufReader::new(file), visit)
    }
}

/// Reads the lines of decoded text.
pub(crate) fn read_decoded(
    path: &Path,
    mut reader: impl BufRead,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let mut place = Place { path, line: 0 };
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        place.line += 1;
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // A damaged compressed file ends here; what was read before stands.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return visit(place, None);
            }
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        }
        let whole = bytes.strip_suffix(b"\n");
        let line = whole.and_then(|line| std::str::from_utf8(line).ok()).and_then(line::read);
        visit(place, line)?;
    }
}
