//! Tables with named, typed columns, written as CSV, Parquet, LaTeX, Markdown and HTML.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use polars::prelude::{
    Column, CsvReadOptions, CsvWriter, DataFrame, KeyValueMetadata, NamedFrom as _, ParquetWriter,
    SerReader as _, SerWriter as _, Series,
};

use preceptor_stats::Estimate;

use crate::Error;
use crate::columns::{help, unit_of};
use crate::file::write_bytes;
use crate::latex::{is_for_papers, latex};
use crate::shown::{ShownColumn, interval};

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Text(Vec<String>),
    Count(Vec<Option<u64>>),
    /// Numbers, some of which may be missing.
    Number(Vec<Option<f64>>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Count(values) => values.len(),
            Self::Number(values) => values.len(),
        }
    }

    /// Returns whether no row has a value.
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(values) => values.iter().all(String::is_empty),
            Self::Count(values) => values.iter().all(Option::is_none),
            Self::Number(values) => values.iter().all(Option::is_none),
        }
    }
}

/// A table with a caption.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Name of its files.
    pub(crate) name: &'static str,
    /// The caption.
    pub(crate) caption: String,
    columns: Vec<(String, Values)>,
}

impl Table {
    pub(crate) fn new(name: &'static str, caption: impl Into<String>) -> Self {
        Self { name, caption: caption.into(), columns: Vec::new() }
    }

    pub(crate) fn text(&mut self, name: &str, values: Vec<String>) {
        self.columns.push((name.to_owned(), Values::Text(values)));
    }

    pub(crate) fn count(&mut self, name: &str, values: Vec<u64>) {
        self.optional_count(name, values.into_iter().map(Some).collect());
    }

    /// Adds a column of whole numbers, some of which may be missing.
    pub(crate) fn optional_count(&mut self, name: &str, values: Vec<Option<u64>>) {
        self.columns.push((name.to_owned(), Values::Count(values)));
    }

    pub(crate) fn number(&mut self, name: &str, values: Vec<Option<f64>>) {
        let finite = values.into_iter().map(|value| value.filter(|value| value.is_finite()));
        self.columns.push((name.to_owned(), Values::Number(finite.collect())));
    }

    /// Adds the column `note`, if a row has one.
    pub(crate) fn notes(&mut self, notes: Vec<&'static str>) {
        if notes.iter().any(|note| !note.is_empty()) {
            self.text("note", notes.into_iter().map(str::to_owned).collect());
        }
    }

    /// Drops the columns among `names` that have no value in any row; all such columns if `names` is empty.
    pub(crate) fn drop_empty(&mut self, names: &[&str]) {
        let is_meant = |name: &String| names.is_empty() || names.contains(&name.as_str());
        self.columns.retain(|(name, values)| !is_meant(name) || !values.is_empty());
    }

    /// Adds means with the ends of their intervals, in three columns of these names.
    pub(crate) fn estimates(&mut self, names: [&str; 3], estimates: &[Option<Estimate>]) {
        let interval = |e: &Option<Estimate>| e.and_then(|e| e.interval);
        self.number(names[0], estimates.iter().map(|e| e.map(|e| e.mean)).collect());
        self.number(names[1], estimates.iter().map(|e| interval(e).map(|i| i.low)).collect());
        self.number(names[2], estimates.iter().map(|e| interval(e).map(|i| i.high)).collect());
    }

    /// Returns the names of the columns, in order.
    pub(crate) fn header(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the number of rows.
    pub(crate) fn height(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| values.len())
    }

    /// Returns the columns as readers see them: the ends of an interval are in the cell of their mean, and
    /// `-` stands for a missing number.
    pub(crate) fn shown(&self) -> Vec<ShownColumn> {
        let mut shown: Vec<ShownColumn> = Vec::new();
        let mut rest = &self.columns[..];
        while let Some(((name, values), after)) = rest.split_first() {
            let (column, after) = match (values, interval(name, after)) {
                (Values::Number(means), Some(ends)) => {
                    (ShownColumn::with_interval(name, means, ends), &after[2..])
                }
                _ => (ShownColumn::new(name, values), after),
            };
            shown.push(column);
            rest = after;
        }
        shown
    }

    /// Returns the columns with their values.
    pub(crate) fn columns(&self) -> &[(String, Values)] {
        &self.columns
    }

    fn frame(&self) -> DataFrame {
        let column = |(name, values): &(String, Values)| -> Column {
            let name = name.as_str().into();
            match values {
                Values::Text(values) => Series::new(name, values.as_slice()).into(),
                Values::Count(values) => Series::new(name, values.as_slice()).into(),
                Values::Number(values) => Series::new(name, values.as_slice()).into(),
            }
        };
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        DataFrame::new(self.height(), columns).expect("columns have one value a row")
    }

    /// Writes `<folder>/<name>.{csv,parquet,tex}` and returns their names. A table without a row is
    /// not written; what an earlier report left of it is removed. The Parquet file names `revision` and the
    /// units and meaning of its columns.
    pub(crate) fn write(&self, folder: &Path, revision: &str) -> Result<Vec<String>, Error> {
        if self.height() == 0 {
            for ending in ["csv", "parquet", "tex"] {
                remove_file(&folder.join(format!("{}.{ending}", self.name)))?;
            }
            return Ok(Vec::new());
        }
        let mut frame = self.frame();
        let mut bytes = Vec::new();
        let csv = folder.join(format!("{}.csv", self.name));
        let wrap = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Table { path, source: Box::new(source) }
        };
        CsvWriter::new(&mut bytes).finish(&mut frame).map_err(wrap(&csv))?;
        write_bytes(&csv, &bytes)?;
        bytes.clear();
        let parquet = folder.join(format!("{}.parquet", self.name));
        ParquetWriter::new(&mut bytes)
            .with_key_value_metadata(Some(self.metadata(revision)))
            .finish(&mut frame)
            .map_err(wrap(&parquet))?;
        write_bytes(&parquet, &bytes)?;
        let mut paths = vec![csv, parquet];
        let tex = folder.join(format!("{}.tex", self.name));
        if is_for_papers(self) {
            write_bytes(&tex, latex(self))?;
            paths.push(tex);
        } else {
            // One of an earlier report, when the table was smaller.
            remove_file(&tex)?;
        }
        let name =
            |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(paths.iter().map(name).collect())
    }

    /// Returns the metadata of the Parquet file.
    fn metadata(&self, revision: &str) -> KeyValueMetadata {
        let of_columns = |of: &dyn Fn(&str) -> String| {
            let pairs = self.header().map(|name| (name.to_owned(), of(name).into()));
            serde_json::Value::Object(pairs.collect()).to_string()
        };
        KeyValueMetadata::from_static(vec![
            ("preceptor.table".to_owned(), self.name.to_owned()),
            ("preceptor.caption".to_owned(), self.caption.clone()),
            ("preceptor.revision".to_owned(), revision.to_owned()),
            ("preceptor.units".to_owned(), of_columns(&|name| unit_of(name).to_owned())),
            ("preceptor.columns".to_owned(), of_columns(&help)),
        ])
    }
}

/// A table read back from its CSV, for drawing.
#[derive(Debug)]
pub(crate) struct ReadTable {
    path: PathBuf,
    frame: DataFrame,
}

impl ReadTable {
    /// Reads the table `name`; none if it was not written.
    pub(crate) fn read_if_there(folder: &Path, name: &str) -> Result<Option<Self>, Error> {
        let is_there = folder.join(format!("{name}.csv")).exists();
        is_there.then(|| Self::read(folder, name)).transpose()
    }

    pub(crate) fn read(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(format!("{name}.csv"));
        let bytes = fs::read(&path)
            .map_err(|error| Error::Read { path: path.clone(), detail: error.to_string() })?;
        let frame = CsvReadOptions::default()
            .with_infer_schema_length(None)
            .into_reader_with_file_handle(std::io::Cursor::new(bytes))
            .finish()
            .map_err(|error| Error::Read { path: path.clone(), detail: error.to_string() })?;
        Ok(Self { path, frame })
    }

    fn column(&self, name: &str) -> Result<&Column, Error> {
        self.frame.column(name).map_err(|_| Error::Read {
            path: self.path.clone(),
            detail: format!("it has no column `{name}`"),
        })
    }

    /// Returns whether there is a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.frame.column(name).is_ok()
    }

    /// Names of the columns, in order.
    pub(crate) fn header(&self) -> Vec<String> {
        self.frame.get_column_names().iter().map(|name| name.to_string()).collect()
    }

    /// Returns a column as text, whatever type it has in the CSV.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let column = self.column(name)?;
        let text = |i| match column.get(i) {
            Ok(value) if !value.is_null() => value.str_value().into_owned(),
            _ => String::new(),
        };
        Ok((0..column.len()).map(text).collect())
    }

    /// Reads a column of texts; all empty where the table has no such column.
    pub(crate) fn texts_if_there(&self, name: &str) -> Result<Vec<String>, Error> {
        if self.has(name) { self.texts(name) } else { Ok(vec![String::new(); self.frame.height()]) }
    }

    /// Reads a column of numbers; all none where the table has no such column.
    pub(crate) fn numbers_if_there(&self, name: &str) -> Result<Vec<Option<f64>>, Error> {
        if self.has(name) { self.numbers(name) } else { Ok(vec![None; self.frame.height()]) }
    }

    /// Returns a column of numbers; none where a cell is empty.
    pub(crate) fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, Error> {
        Ok(self.texts(name)?.iter().map(|text| text.parse().ok()).collect())
    }
}

/// Removes a file of an earlier report, if there is one.
fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::write(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_grew_too_long_for_papers_loses_its_latex() {
        let folder = tempfile::tempdir().unwrap();
        for (num_rows, is_there) in [(60, true), (61, false)] {
            let mut table = Table::new("demo", "a demo");
            table.count("n", (0..num_rows).collect());
            table.write(folder.path(), "abc").unwrap();
            assert_eq!(folder.path().join("demo.tex").exists(), is_there);
        }
    }

    #[test]
    fn a_table_reads_back_from_its_files() {
        let mut table = Table::new("demo", "a demo");
        table.text("kind", vec!["a_b".to_owned(), "50 %, \"x\"".to_owned()]);
        table.count("n", vec![1, 20]);
        table.optional_count("step", vec![Some(10), None]);
        table.number("score", vec![Some(0.123_456), None]);
        let folder = tempfile::tempdir().unwrap();
        let files = table.write(folder.path(), "abc").unwrap();
        assert_eq!(files, ["demo.csv", "demo.parquet", "demo.tex"]);
        let read = ReadTable::read(folder.path(), "demo").unwrap();
        assert_eq!(read.texts("kind").unwrap(), ["a_b", "50 %, \"x\""]);
        assert_eq!(read.texts("step").unwrap(), ["10", ""]);
        assert_eq!(read.numbers("score").unwrap(), [Some(0.123_456), None]);
        let parquet = fs::File::open(folder.path().join("demo.parquet")).unwrap();
        let mut reader = polars::prelude::ParquetReader::new(parquet);
        let metadata = reader.get_metadata().unwrap().key_value_metadata().clone().unwrap();
        let of = |key: &str| metadata.iter().find(|pair| pair.key == key).unwrap().value.clone();
        assert_eq!(of("preceptor.revision").as_deref(), Some("abc"));
        let units = of("preceptor.units").unwrap();
        assert_eq!(units, r#"{"kind":"","n":"","score":"","step":"steps"}"#);
        let frame = reader.finish().unwrap();
        assert!(frame.equals_missing(&table.frame()));
    }

    #[test]
    fn a_table_without_rows_leaves_no_file() {
        let mut table = Table::new("demo", "a demo");
        table.count("n", vec![1]);
        let folder = tempfile::tempdir().unwrap();
        table.write(folder.path(), "").unwrap();
        assert_eq!(Table::new("demo", "a demo").write(folder.path(), "").unwrap(), [""; 0]);
        assert!(ReadTable::read_if_there(folder.path(), "demo").unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_column_is_named() {
        let mut table = Table::new("demo", "a demo");
        table.count("n", vec![1]);
        let folder = tempfile::tempdir().unwrap();
        table.write(folder.path(), "").unwrap();
        let error = ReadTable::read(folder.path(), "demo").unwrap().texts("m").unwrap_err();
        let error = error.to_string().replace(&folder.path().display().to_string(), "[dir]");
        insta::assert_snapshot!(error, @"read `[dir]/demo.csv`: it has no column `m`");
    }
}
