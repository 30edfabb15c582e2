//! Reading the tables of a manifest, with errors that point at the line and the key.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::ManifestError;
use crate::manifest::document::Document;

/// Least similarity (Jaro-Winkler) at which a known key is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.75;

pub(crate) fn names_of(entries: &[crate::Entry]) -> Vec<&'static str> {
    entries.iter().map(|entry| entry.name).collect()
}

pub(crate) fn take_table(
    document: &Document,
    table: &mut Table,
    key: &str,
) -> Result<Table, ManifestError> {
    match table.remove(key) {
        Some(Value::Table(table)) => Ok(table),
        Some(_) => Err(document.error_at(key, format!("`{key}` is a table: write `[{key}]`"))),
        None => Err(document.error_at("", format!("there is no table `[{key}]`"))),
    }
}

/// Returns a table that need not be there, as a value.
pub(crate) fn optional(table: &mut Table, key: &str) -> Value {
    table.remove(key).unwrap_or_else(|| Value::Table(Table::new()))
}

/// Returns a table that need not be there.
pub(crate) fn optional_table(
    document: &Document,
    table: &mut Table,
    key: &str,
) -> Result<Table, ManifestError> {
    if table.contains_key(key) { take_table(document, table, key) } else { Ok(Table::new()) }
}

/// Replaces `prompt-file` by `prompt-text`, the file's contents. A cell depends on the prompt, not on
/// the path of its file.
pub(crate) fn with_prompt_text(
    document: &Document,
    path: &str,
    mut table: Table,
) -> Result<Table, ManifestError> {
    let Some(file) = table.remove("prompt-file") else { return Ok(table) };
    let key = format!("{path}.prompt-file");
    let Value::String(file) = &file else {
        let detail = format!("`{key} = {file}`: a file is a path in quotes");
        return Err(document.error_at(&key, detail));
    };
    let text = std::fs::read_to_string(file).map_err(|error| {
        document.error_at(&key, format!("`{key} = \"{file}\"`: can't read it: {error}"))
    })?;
    table.insert("prompt-text".to_owned(), Value::String(text));
    Ok(table)
}

/// Reads a table that has a `kind`, whose value is checked first for a clear message.
pub(crate) fn read_kind<T: DeserializeOwned>(
    document: &Document,
    path: &str,
    table: Table,
    also_known: &[&str],
    kinds: &[&str],
) -> Result<T, ManifestError> {
    let allowed = kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
    let key = format!("{path}.kind");
    match table.get("kind") {
        Some(Value::String(kind)) if kinds.contains(&kind.as_str()) => {}
        Some(Value::String(kind)) => {
            let mut error =
                document.error_at(&key, format!("`{key} = \"{kind}\"`: there is no such kind"));
            error.hint = Some(hint(nearest(kind, kinds), &allowed));
            return Err(error);
        }
        Some(other) => {
            let detail = format!("`{key} = {other}`: a kind is a name in quotes");
            return Err(document.error_at(&key, detail));
        }
        None => {
            let mut error = document.error_at(path, format!("`[{path}]` has no `kind`"));
            error.hint = Some(format!("kinds are {allowed}"));
            return Err(error);
        }
    }
    read(document, path, Value::Table(table), also_known)
}

/// Reads the table at `path`, pointing errors at the key that causes them.
pub(crate) fn read<T: DeserializeOwned>(
    document: &Document,
    path: &str,
    value: Value,
    also_known: &[&str],
) -> Result<T, ManifestError> {
    let given = value.clone();
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let message = error.inner().message().to_owned();
        let join =
            |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if let Some((unknown, known)) = unknown_field(&message) {
            let key = join(&unknown);
            let mut allowed: Vec<&str> = known.iter().map(String::as_str).collect();
            allowed.extend(also_known);
            let written =
                allowed.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let mut error = document.error_at(&key, format!("`{key}` is not a known key"));
            error.hint = Some(hint(nearest(&unknown, &allowed), &written));
            return error;
        }
        let key = match inner.as_str() {
            "." | "?" => {
                blamed_key(&given, &message).map_or_else(|| path.to_owned(), |key| join(&key))
            }
            inner => join(inner),
        };
        let value = key
            .strip_prefix(path)
            .and_then(|key| given.get(key.trim_start_matches('.')))
            .filter(|value| !value.is_table())
            .map_or_else(String::new, |value| format!(" = {value}"));
        document.error_at(&key, format!("`{key}{value}`: {message}"))
    })
}

/// Returns the key whose value an error message quotes; tagged tables lose the path to it.
fn blamed_key(given: &Value, message: &str) -> Option<String> {
    let table = given.as_table()?;
    let blamed = |value: &Value| match value {
        Value::String(text) => {
            message.contains(&format!("string \"{text}\""))
                || message.contains(&format!("`{text}`"))
        }
        Value::Integer(number) => message.contains(&format!("integer `{number}`")),
        Value::Float(number) => message.contains(&format!("floating point `{number}`")),
        Value::Boolean(truth) => message.contains(&format!("boolean `{truth}`")),
        _ => false,
    };
    table.iter().find(|(key, value)| *key != "kind" && blamed(value)).map(|(key, _)| key.clone())
}

/// Takes serde's message about an unknown field apart.
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((unknown.to_owned(), known))
}

/// Returns the known name that is most alike, if one is alike at all.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(known, name), *known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= MIN_SIMILARITY).then_some(best.1)
}

fn hint(nearest: Option<&str>, allowed: &str) -> String {
    let suggestion = nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    if allowed.is_empty() {
        return format!("{suggestion}it has no settings");
    }
    format!("{suggestion}known are {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::settings::SamplingSettings;
    use crate::test_support::document;

    /// Reads the table `[sampling]` of a manifest with `lines` in it.
    fn sampling(lines: &str) -> Result<SamplingSettings, ManifestError> {
        let document = document(&[("m.toml", &format!("[sampling]\n{lines}"))], &[])?;
        let table = take_table(&document, &mut document.table().clone(), "sampling")?;
        read(&document, "sampling", Value::Table(table), &["extra"])
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_key() {
        let error = sampling("top-k = 1\ntop-pp = 0.5\n").unwrap_err();
        assert_eq!(error.detail, "`sampling.top-pp` is not a known key");
        assert!(error.location.ends_with("line 3"), "{}", error.location);
        let hint = error.hint.unwrap();
        assert!(hint.starts_with("did you mean `top-p`? known are `group-size`, "), "{hint}");
        assert!(hint.ends_with("`extra`"), "{hint}");
        let hint = sampling("qqq = 1\n").unwrap_err().hint.unwrap();
        assert!(hint.starts_with("known are "), "nothing is alike: {hint}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_at_its_key() {
        let error = sampling("temperature = 1.0\ngroup-size = \"eight\"\n").unwrap_err();
        assert_eq!(
            error.detail,
            "`sampling.group-size = \"eight\"`: invalid type: string \"eight\", expected u32"
        );
        assert!(error.location.ends_with("line 3"), "{}", error.location);
    }

    #[test]
    fn a_kind_is_checked_before_the_other_keys() {
        let read = |lines: &str| {
            let document = document(&[("m.toml", &format!("[judge]\n{lines}"))], &[]).unwrap();
            let table = take_table(&document, &mut document.table().clone(), "judge").unwrap();
            let read: Result<Table, _> =
                read_kind(&document, "judge", table, &[], &["margin", "verdict"]);
            read.map_err(|error| (error.detail, error.hint.unwrap_or_default()))
        };
        assert!(read("kind = \"margin\"\n").is_ok());
        let (detail, hint) = read("kind = \"margins\"\nodd = 1\n").unwrap_err();
        assert_eq!(detail, "`judge.kind = \"margins\"`: there is no such kind");
        assert_eq!(hint, "did you mean `margin`? known are `margin`, `verdict`");
        let (detail, _) = read("kind = 3\n").unwrap_err();
        assert_eq!(detail, "`judge.kind = 3`: a kind is a name in quotes");
        let (detail, hint) = read("").unwrap_err();
        assert_eq!(detail, "`[judge]` has no `kind`");
        assert_eq!(hint, "kinds are `margin`, `verdict`");
    }
}
