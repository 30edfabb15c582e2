//! Standard output: text for people, or JSON for programs.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Write as _};

use preceptor_reports::format_number;
use serde::Serialize;

/// Printer of a command's result.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    /// First error of writing.
    error: RefCell<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, error: RefCell::new(None) }
    }

    /// Prints `value` if JSON was asked for.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if self.json {
            self.line(&serde_json::to_string_pretty(value).expect("results are plain data"));
        }
    }

    /// Prints a line if JSON was not asked for.
    pub(crate) fn text(&self, line: impl AsRef<str>) {
        if !self.json {
            self.line(line.as_ref());
        }
    }

    /// Prints a table with aligned columns if JSON was not asked for.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        let mut widths: Vec<_> = header.iter().map(|cell| cell.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                let padding = width - cell.chars().count();
                format!("{cell}{}", " ".repeat(padding))
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.text(line(header.to_vec()));
        for row in rows {
            self.text(line(row.iter().map(String::as_str).collect()));
        }
    }

    /// Prints a line on standard output.
    pub(crate) fn line(&self, line: &str) {
        self.note(writeln!(io::stdout(), "{line}"));
    }

    /// Ends the output and returns the first error of writing it, such as a full disk. A closed pipe is
    /// no error.
    pub(crate) fn finish(&self) -> Option<io::Error> {
        self.note(io::stdout().flush());
        self.error.take()
    }

    /// Keeps the first error.
    pub(crate) fn note(&self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.error.borrow_mut().get_or_insert(error);
        }
    }
}

/// Formats a number as reports do, `-` for none.
pub(crate) fn or_dash(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), format_number)
}
