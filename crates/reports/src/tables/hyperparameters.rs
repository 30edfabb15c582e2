//! `hyperparameters`: every resolved setting of the cells, defaults included. Where cells differ,
//! their values are listed.

use toml::{Table as TomlTable, Value};

use crate::evidence::Evidence;
use crate::table::Table;

/// The largest number of values that are listed.
const MOST_VALUES: usize = 8;
/// The longest value in characters: prompts are settings too.
const MOST_CHARS: usize = 60;

pub(crate) fn hyperparameters(evidence: &Evidence) -> Table {
    let mut settings: Vec<(String, Vec<String>)> = Vec::new();
    for cell in &evidence.plan.cells {
        let table: TomlTable = cell.settings.parse().expect("plans hold settings as TOML");
        let mut found = Vec::new();
        flatten("", &table, &mut found);
        for (key, value) in found {
            match settings.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) if values.contains(&value) => {}
                Some((_, values)) => values.push(value),
                None => settings.push((key, vec![value])),
            }
        }
    }
    settings.sort();
    let caption = "Resolved settings of all cells, defaults included; where cells differ, their \
                   values are listed";
    let mut table = Table::new("hyperparameters", caption);
    table.text("key", settings.iter().map(|(key, _)| key.clone()).collect());
    let shown = |values: &Vec<String>| {
        let more = if values.len() > MOST_VALUES { ", …" } else { "" };
        values[..values.len().min(MOST_VALUES)].join(", ") + more
    };
    table.text("value", settings.iter().map(|(_, values)| shown(values)).collect());
    table
}

fn flatten(prefix: &str, table: &TomlTable, into: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => flatten(&key, table, into),
            value => into.push((key, shortened(&shown(value)))),
        }
    }
}

/// Returns a value in one line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let quoted = |value: &Value| match value {
                Value::String(text) => format!("{text:?}"),
                other => shown(other),
            };
            format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_by_their_dotted_keys() {
        let table: TomlTable = "a = 1\n[b]\nc = 'x  y'\n[b.d]\ne = [1.5, \"\\n\"]".parse().unwrap();
        let mut found = Vec::new();
        flatten("", &table, &mut found);
        let found: Vec<_> = found.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        assert_eq!(found, ["a = 1", "b.c = x y", r#"b.d.e = [1.5, "\n"]"#]);
        assert_eq!(shortened(&"é".repeat(61)).chars().count(), 61);
    }
}
