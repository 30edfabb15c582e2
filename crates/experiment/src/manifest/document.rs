//! Contents of the manifest's files and the command line, with the position of each key.
//!
//! A manifest may name bases with `extends`; its keys win over those of the bases, and those of a later base
//! over an earlier one's, key by key in tables, arrays as a whole. `--set key=value` wins over both. The position of every key is kept, so that an
//! error in the result points at the line that caused it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use preceptor_core::OutOfRange;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::error::ManifestError;

/// Position of a key.
#[derive(Clone, Debug)]
enum Position {
    /// In a file.
    File {
        /// Index into [`Document::sources`].
        source: usize,
        /// Byte range of the key.
        span: Range<usize>,
    },
    /// By `--set`, with what follows it.
    Setting(String),
}

#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    text: String,
}

/// A manifest with its base and the settings of the command line, merged.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    table: Table,
    sources: Vec<Source>,
    positions: BTreeMap<String, Position>,
}

impl Document {
    /// Reads the manifest at `path`, its bases, and `settings` of the form `key=value`.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] naming the file and line.
    pub fn read(path: &Path, settings: &[String]) -> Result<Self, ManifestError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut document =
            Self { name, table: Table::new(), sources: Vec::new(), positions: BTreeMap::new() };
        let mut top = document.read_file(path)?;
        if let Some(bases) = top.0.remove("extends") {
            let no_paths = "`extends` is a path in quotes, or a list of them";
            let bases = match bases {
                Value::String(base) => vec![base],
                Value::Array(bases) => bases
                    .iter()
                    .map(|base| base.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| document.located(&top.1, "extends", no_paths))?,
                _ => return Err(document.located(&top.1, "extends", no_paths)),
            };
            let folder = path.parent().unwrap_or(Path::new(""));
            for base in bases {
                let base_path = folder.join(base);
                if !base_path.exists() {
                    let detail =
                        format!("`extends` names `{}`, which is not there", base_path.display());
                    return Err(document.located(&top.1, "extends", &detail));
                }
                let base = document.read_file(&base_path)?;
                if base.0.contains_key("extends") {
                    let detail = "a base can't extend another; list both in the manifest";
                    return Err(document.located(&base.1, "extends", detail));
                }
                document.merge(base);
            }
        }
        document.merge(top);
        for setting in settings {
            document.set(setting)?;
        }
        Ok(document)
    }

    /// Returns the experiment's name: the file's, without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if there is a table or a key `name` at the top.
    pub fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Returns the merged table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Creates an error at the axis `key`, otherwise at `key` or its nearest parent with a position.
    pub(crate) fn error_at(&self, key: &str, detail: impl Into<String>) -> ManifestError {
        let axis = format!("matrix.{key}");
        let key = if self.positions.contains_key(&axis) { &axis } else { key };
        self.located(&self.positions, key, &detail.into())
    }

    /// Turns a setting of `table` outside its range into an error at its key.
    pub(crate) fn check<T>(
        &self,
        table: &str,
        result: Result<T, OutOfRange>,
    ) -> Result<T, ManifestError> {
        result.map_err(|error| {
            let OutOfRange { key, value, allowed } = error.within(table);
            self.error_at(&key, format!("`{key} = {value}`: must be {allowed}"))
        })
    }

    fn read_file(
        &mut self,
        path: &Path,
    ) -> Result<(Table, BTreeMap<String, Position>), ManifestError> {
        let bare = |detail: String, hint: Option<&str>| ManifestError {
            location: format!("`{}`", path.display()),
            excerpt: None,
            detail,
            hint: hint.map(str::to_owned),
        };
        let text = fs::read_to_string(path).map_err(|error| {
            bare(format!("can't read it: {error}"), Some("manifests are in `experiments/`"))
        })?;
        let number = self.sources.len();
        self.sources.push(Source { path: path.to_owned(), text });
        let text = &self.sources[number].text;
        let table: Table = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => self.at(&Position::File { source: number, span }, error.message()),
            None => bare(error.message().to_owned(), None),
        })?;
        let spanned = DeTable::parse(text).expect("it was parsed above");
        let mut positions = BTreeMap::new();
        collect_positions(spanned.get_ref(), "", number, &mut positions);
        Ok((table, positions))
    }

    fn merge(&mut self, (table, positions): (Table, BTreeMap<String, Position>)) {
        merge_tables(&mut self.table, table);
        self.positions.extend(positions);
    }

    fn set(&mut self, setting: &str) -> Result<(), ManifestError> {
        let error = |detail: &str| ManifestError {
            location: format!("`--set {setting}`"),
            excerpt: None,
            detail: detail.to_owned(),
            hint: Some(
                "write `--set sampling.group-size=4` or `--set policy.model=name`".to_owned(),
            ),
        };
        let (key, value) = setting.split_once('=').ok_or_else(|| error("there is no `=`"))?;
        let key = key.trim();
        // Anything that is not a TOML value is text without quotes.
        let value = toml::from_str::<Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.trim().to_owned()));
        // A key that the matrix spans would be overwritten by every cell.
        if let Some(Value::Table(matrix)) = self.table.get_mut("matrix")
            && matrix.contains_key(key)
        {
            let values = if value.is_array() { value } else { Value::Array(vec![value]) };
            matrix.insert(key.to_owned(), values);
            self.note_setting(&format!("matrix.{key}"), setting);
            return Ok(());
        }
        set_path(&mut self.table, key, value)
            .map_err(|part| error(&format!("`{part}` is not a table")))?;
        self.note_setting(key, setting);
        Ok(())
    }

    /// Notes that a setting wrote `key` and all that is in it.
    fn note_setting(&mut self, key: &str, setting: &str) {
        let inside = format!("{key}.");
        self.positions.retain(|known, _| !known.starts_with(&inside));
        self.positions.insert(key.to_owned(), Position::Setting(setting.to_owned()));
    }

    fn located(
        &self,
        positions: &BTreeMap<String, Position>,
        key: &str,
        detail: &str,
    ) -> ManifestError {
        let mut parent = key;
        loop {
            if let Some(position) = positions.get(parent) {
                return self.at(position, detail);
            }
            match parent.rsplit_once('.') {
                Some((shorter, _)) => parent = shorter,
                None => break,
            }
        }
        let file = self.sources.first().map_or_else(String::new, |s| s.path.display().to_string());
        ManifestError {
            location: format!("`{file}`"),
            excerpt: None,
            detail: detail.to_owned(),
            hint: None,
        }
    }

    fn at(&self, position: &Position, detail: &str) -> ManifestError {
        let detail = detail.to_owned();
        let (source, span) = match position {
            Position::File { source, span } => (&self.sources[*source], span),
            Position::Setting(setting) => {
                let location = format!("`--set {setting}`");
                return ManifestError { location, excerpt: None, detail, hint: None };
            }
        };
        let before = &source.text[..span.start.min(source.text.len())];
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let text = source.text.lines().nth(line).unwrap_or("");
        let number = (line + 1).to_string();
        let width = span.len().clamp(1, text.len().saturating_sub(column).max(1));
        let margin = " ".repeat(number.len());
        let excerpt = format!(
            "{margin} |\n{number} | {text}\n{margin} | {}{}",
            " ".repeat(column),
            "^".repeat(width)
        );
        ManifestError {
            location: format!("`{}`, line {number}", source.path.display()),
            excerpt: Some(excerpt),
            detail,
            hint: None,
        }
    }
}

fn collect_positions(
    table: &DeTable<'_>,
    prefix: &str,
    source: usize,
    positions: &mut BTreeMap<String, Position>,
) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if prefix.is_empty() { name.to_string() } else { format!("{prefix}.{name}") };
        collect_value(value.get_ref(), &path, source, positions);
        positions.insert(path, Position::File { source, span: key.span() });
    }
}

fn collect_value(
    value: &DeValue<'_>,
    path: &str,
    source: usize,
    positions: &mut BTreeMap<String, Position>,
) {
    match value {
        DeValue::Table(table) => collect_positions(table, path, source, positions),
        DeValue::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}.{i}");
                collect_value(item.get_ref(), &path, source, positions);
                positions.insert(path, Position::File { source, span: item.span() });
            }
        }
        _ => {}
    }
}

/// Merges `over` into `base`: tables key by key, all other values as a whole.
fn merge_tables(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge_tables(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Sets the value at a dotted path, making tables on the way.
///
/// Returns the part of the path that exists and is no table.
pub(crate) fn set_path(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let mut table = table;
    let mut rest = path;
    while let Some((first, after)) = rest.split_once('.') {
        let entry = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
        table = entry.as_table_mut().ok_or_else(|| first.to_owned())?;
        rest = after;
    }
    table.insert(rest.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::document;

    const BASE: (&str, &str) =
        ("base.toml", "seeds = [0, 1]\n[sampling]\ntemperature = 1.0\ntop-k = 5\n");

    #[test]
    fn a_manifest_overrides_its_base_key_by_key_and_arrays_as_a_whole() {
        let top = "extends = \"base.toml\"\nseeds = [7]\n[sampling]\ntop-k = 9\n";
        let read = document(&[("m.toml", top), BASE], &[]).unwrap();
        let expected = "seeds = [7]\n[sampling]\ntemperature = 1.0\ntop-k = 9\n";
        assert_eq!(*read.table(), toml::from_str::<Table>(expected).unwrap());
        assert_eq!(read.name(), "m");
    }

    #[test]
    fn of_several_bases_the_later_one_wins() {
        let top = "extends = [\"base.toml\", \"other.toml\"]\n[sampling]\nmin-p = 0.1\n";
        let other = ("other.toml", "[sampling]\ntop-k = 7\n");
        let read = document(&[("m.toml", top), BASE, other], &[]).unwrap();
        let expected = "seeds = [0, 1]\n[sampling]\ntemperature = 1.0\ntop-k = 7\nmin-p = 0.1\n";
        assert_eq!(*read.table(), toml::from_str::<Table>(expected).unwrap());
        let top_k = read.error_at("sampling.top-k", "d");
        assert!(top_k.location.ends_with("other.toml`, line 2"), "{}", top_k.location);
        let error = document(&[("m.toml", "extends = [1]\n")], &[]).unwrap_err();
        assert_eq!(error.detail, "`extends` is a path in quotes, or a list of them");
    }

    #[test]
    fn only_one_level_of_bases_is_allowed() {
        let files = [
            ("m.toml", "extends = \"middle.toml\"\n"),
            ("middle.toml", "\nextends = \"base.toml\"\n"),
            BASE,
        ];
        let error = document(&files, &[]).unwrap_err();
        assert!(error.location.ends_with("middle.toml`, line 2"), "{}", error.location);
        let error = document(&[("m.toml", "extends = \"none.toml\"\n")], &[]).unwrap_err();
        assert!(error.location.ends_with("m.toml`, line 1"), "{}", error.location);
    }

    #[test]
    fn an_error_points_at_the_line_that_has_the_last_word() {
        let top = "extends = \"base.toml\"\n\n[sampling]\ntop-k = 9\n";
        let read = document(&[("m.toml", top), BASE], &["sampling.min-p=2"]).unwrap();
        let top_k = read.error_at("sampling.top-k", "d");
        assert!(top_k.location.ends_with("m.toml`, line 4"), "{}", top_k.location);
        assert_eq!(top_k.excerpt.unwrap(), "  |\n4 | top-k = 9\n  | ^^^^^");
        let temperature = read.error_at("sampling.temperature", "d");
        assert!(temperature.location.ends_with("base.toml`, line 3"), "{}", temperature.location);
        assert_eq!(read.error_at("sampling.min-p", "d").location, "`--set sampling.min-p=2`");
        // A key without a position has that of its table.
        let table = read.error_at("sampling.top-p", "d");
        assert!(table.location.ends_with("m.toml`, line 3"), "{}", table.location);
    }

    #[test]
    fn settings_of_the_command_line_win_and_replace_the_values_of_an_axis() {
        let top = "[policy]\nmodel = \"a\"\n[matrix]\n\"sampling.top-k\" = [1, 2]\n";
        let settings = ["policy.model=b c", "sampling.top-k=3", "train.clip.low=0.1"];
        let read = document(&[("m.toml", top)], &settings).unwrap();
        let expected = "[policy]\nmodel = \"b c\"\n[matrix]\n\"sampling.top-k\" = [3]\n\
                        [train.clip]\nlow = 0.1\n";
        assert_eq!(*read.table(), toml::from_str::<Table>(expected).unwrap());
        let inside = document(&[("m.toml", top)], &["policy.model.name=x"]).unwrap_err();
        assert_eq!(inside.detail, "`model` is not a table");
        let bare = document(&[("m.toml", top)], &["policy.model"]).unwrap_err();
        assert_eq!(bare.detail, "there is no `=`");
    }
}
