//! A file of rows as JSONL and Parquet, written as the rows come.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::mem;
use std::path::{Path, PathBuf};

use polars::io::parquet::write::BatchedWriter;
use polars::prelude::{Column, DataFrame, Field, ParquetWriter, PolarsError, Schema};

use crate::Error;
use crate::records::{ColumnType, RecordColumn};

/// Bytes of the rows that are in memory at a time, and make a row group of the Parquet file.
const GROUP_BYTES: usize = 32 << 20;
/// Rows of a row group at most.
const GROUP_ROWS: usize = 1 << 18;

/// A value of a row.
pub(crate) enum Cell<'t> {
    Text(&'t str),
    Number(f64),
    Count(u64),
    Flag(bool),
    None,
}

impl<'t> Cell<'t> {
    pub(crate) fn text(text: Option<&'t str>) -> Self {
        text.map_or(Self::None, Self::Text)
    }

    pub(crate) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::None, Self::Number)
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Text(text) => serde_json::to_writer(out, text),
            Self::Number(number) => serde_json::to_writer(out, number),
            Self::Count(count) => serde_json::to_writer(out, count),
            Self::Flag(flag) => serde_json::to_writer(out, flag),
            Self::None => serde_json::to_writer(out, &()),
        };
        written.expect("cells are plain data");
    }
}

/// Values of a column.
enum Values {
    Text(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
    Count(Vec<Option<u64>>),
    Flag(Vec<Option<bool>>),
}

impl Values {
    fn new(of: ColumnType) -> Self {
        match of {
            ColumnType::Text => Self::Text(Vec::new()),
            ColumnType::Number => Self::Number(Vec::new()),
            ColumnType::Count => Self::Count(Vec::new()),
            ColumnType::Flag => Self::Flag(Vec::new()),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Text(values), Cell::Text(text)) => values.push(Some((*text).to_owned())),
            (Self::Number(values), Cell::Number(number)) => values.push(Some(*number)),
            (Self::Count(values), Cell::Count(count)) => values.push(Some(*count)),
            (Self::Flag(values), Cell::Flag(flag)) => values.push(Some(*flag)),
            (Self::Text(values), Cell::None) => values.push(None),
            (Self::Number(values), Cell::None) => values.push(None),
            (Self::Count(values), Cell::None) => values.push(None),
            (Self::Flag(values), Cell::None) => values.push(None),
            _ => unreachable!("a cell has the type of its column"),
        }
    }

    /// Returns the values so far as a column, and forgets them.
    fn take(&mut self, name: &str) -> Column {
        match self {
            Self::Text(values) => Column::new(name.into(), mem::take(values)),
            Self::Number(values) => Column::new(name.into(), mem::take(values)),
            Self::Count(values) => Column::new(name.into(), mem::take(values)),
            Self::Flag(values) => Column::new(name.into(), mem::take(values)),
        }
    }
}

/// A file that is being written.
pub(crate) struct RecordFile {
    schema: Vec<RecordColumn>,
    jsonl: PathBuf,
    writer: BufWriter<File>,
    /// The last line, kept for its memory.
    line: Vec<u8>,
    parquet: PathBuf,
    batches: BatchedWriter<File>,
    /// The rows of the next batch.
    values: Vec<Values>,
    num_batch_rows: usize,
    num_batch_bytes: usize,
    num_rows: u64,
}

impl RecordFile {
    pub(crate) fn create(
        folder: &Path,
        name: &str,
        schema: Vec<RecordColumn>,
    ) -> Result<Self, Error> {
        let jsonl = folder.join(format!("{name}.jsonl"));
        let file = File::create(&jsonl).map_err(Error::write(&jsonl))?;
        let mut values: Vec<Values> = schema.iter().map(|(_, of, _)| Values::new(*of)).collect();
        let columns = schema.iter().zip(&mut values).map(|((name, ..), of)| of.take(name));
        let fields =
            columns.map(|column| Field::new(column.name().clone(), column.dtype().clone()));
        let parquet = folder.join(format!("{name}.parquet"));
        let out = File::create(&parquet).map_err(Error::write(&parquet))?;
        let batches = ParquetWriter::new(out).batched(&Schema::from_iter(fields));
        let batches = batches.map_err(|source| table_error(&parquet, source))?;
        Ok(Self {
            schema,
            jsonl,
            writer: BufWriter::new(file),
            line: Vec::new(),
            parquet,
            batches,
            values,
            num_batch_rows: 0,
            num_batch_bytes: 0,
            num_rows: 0,
        })
    }

    pub(crate) fn push(&mut self, cells: &[Cell<'_>]) -> Result<(), Error> {
        assert_eq!(cells.len(), self.schema.len(), "a row has every column");
        self.line.clear();
        for (i, ((name, ..), cell)) in self.schema.iter().zip(cells).enumerate() {
            let before = if i == 0 { "{\"" } else { ",\"" };
            for part in [before, name, "\":"] {
                self.line.extend(part.as_bytes());
            }
            cell.write_json(&mut self.line);
        }
        self.line.extend(b"}\n");
        self.writer.write_all(&self.line).map_err(Error::write(&self.jsonl))?;
        for (values, cell) in self.values.iter_mut().zip(cells) {
            values.push(cell);
        }
        self.num_rows += 1;
        self.num_batch_rows += 1;
        self.num_batch_bytes += self.line.len();
        if self.num_batch_rows >= GROUP_ROWS || self.num_batch_bytes >= GROUP_BYTES {
            self.end_batch()?;
        }
        Ok(())
    }

    fn end_batch(&mut self) -> Result<(), Error> {
        let columns = self.schema.iter().zip(&mut self.values);
        let columns = columns.map(|((name, ..), values)| values.take(name)).collect();
        let written = DataFrame::new(self.num_batch_rows, columns)
            .and_then(|frame| self.batches.write_batch(&frame));
        (self.num_batch_rows, self.num_batch_bytes) = (0, 0);
        written.map_err(|source| table_error(&self.parquet, source))
    }

    /// Completes both files. Returns their paths, and the number of rows.
    pub(crate) fn finish(mut self) -> Result<(Vec<PathBuf>, u64), Error> {
        self.writer.flush().map_err(Error::write(&self.jsonl))?;
        if self.num_batch_rows > 0 {
            self.end_batch()?;
        }
        self.batches.finish().map_err(|source| table_error(&self.parquet, source))?;
        Ok((vec![self.jsonl, self.parquet], self.num_rows))
    }
}

fn table_error(path: &Path, source: PolarsError) -> Error {
    Error::Table { path: path.to_owned(), source: Box::new(source) }
}
