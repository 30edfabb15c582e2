//! Slices of groups, written as they fill.

use std::path::PathBuf;

use serde::Serialize;

use crate::Error;
use crate::explorer::texts::{Text, Texts};
use crate::explorer::view::GroupView;
use crate::file::write_file;

/// A slice is written once it has this number of bytes.
const FULL: usize = 384 << 10;

/// Writer of the slices of one benchmark.
pub(crate) struct Slices<'f> {
    folder: PathBuf,
    files: &'f mut Vec<PathBuf>,
    /// The texts of the slice that is being filled.
    pub(crate) texts: Texts,
    groups: Vec<String>,
    tokens: Vec<String>,
    /// True if files of tokens are written.
    has_tokens: bool,
    num_bytes: usize,
    /// Bytes of the texts of the groups so far.
    num_text_bytes: usize,
    number: u32,
}

#[derive(Serialize)]
struct Slice<'t> {
    texts: &'t [Text],
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("views are plain data")
}

impl<'f> Slices<'f> {
    pub(crate) fn new(folder: PathBuf, files: &'f mut Vec<PathBuf>, has_tokens: bool) -> Self {
        Self {
            folder,
            files,
            texts: Texts::default(),
            groups: Vec::new(),
            tokens: Vec::new(),
            has_tokens,
            num_bytes: 0,
            num_text_bytes: 0,
            number: 0,
        }
    }

    /// Adds a group, whose texts are among [`Self::texts`]. Returns the number of its slice, and its size.
    pub(crate) fn add(&mut self, group: &GroupView) -> Result<(u32, usize), Error> {
        let number = self.number;
        let text = json(group);
        self.num_bytes += text.len();
        let num_bytes = text.len() + self.texts.num_bytes - self.num_text_bytes;
        self.num_text_bytes = self.texts.num_bytes;
        self.groups.push(text);
        if self.has_tokens {
            self.tokens.push(json(&group.tokens));
        }
        if self.num_bytes + self.texts.num_bytes >= FULL {
            self.flush()?;
        }
        Ok((number, num_bytes))
    }

    /// Writes the slice that is being filled, if it has groups.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let number = self.number;
        let texts = json(&Slice { texts: &self.texts.texts });
        let head = texts.strip_suffix('}').expect("a slice is an object");
        let groups = self.groups.join(",\n");
        self.write(
            &format!("{number:04}.js"),
            &format!("explorer.slice({number}, {head},\"groups\":[\n{groups}]}});\n"),
        )?;
        if self.tokens.iter().any(|tokens| tokens != "[]") {
            let tokens = self.tokens.join(",\n");
            self.write(
                &format!("{number:04}-tokens.js"),
                &format!("explorer.tokens({number}, [\n{tokens}]);\n"),
            )?;
        }
        for (long, text) in std::mem::take(&mut self.texts.long) {
            let text = json(&text);
            self.write(
                &format!("long-{long:04}.js"),
                &format!("explorer.long({long}, {text});\n"),
            )?;
        }
        self.texts.clear();
        self.groups.clear();
        self.tokens.clear();
        (self.num_bytes, self.num_text_bytes) = (0, 0);
        self.number += 1;
        Ok(())
    }

    /// Returns whether the next group is the first of its slice.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Writes a file of the benchmark.
    pub(crate) fn write(&mut self, name: &str, text: &str) -> Result<(), Error> {
        write_file(&self.folder.join(name), text, self.files)
    }
}
