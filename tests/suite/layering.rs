//! Every `Cargo.toml` against the table in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// Crates that may be used in one place only.
const HOMES: [(&str, &[&str]); 10] = [
    ("burn", &["models", "trainer"]),
    ("burn-flex", &["models"]),
    ("plotters", &["reports"]),
    ("polars", &["reports"]),
    ("resvg", &["reports"]),
    ("svg2pdf", &["reports"]),
    ("ureq", &["endpoints", "files"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("tokenizers", &["models"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The table of ARCHITECTURE.md: each crate's layer and what it may use.
fn allowed() -> BTreeMap<String, (u32, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let table = text.split("<!-- layering -->").nth(1).expect("the table is marked");
    let table = table.split("<!-- /layering -->").next().expect("its end is marked");
    let mut crates = BTreeMap::new();
    for line in table.lines().filter(|line| line.contains('`')) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let layer = cells[0].parse().expect("the first cell is the layer");
        let name = cells[1].trim_matches('`').to_owned();
        let uses = cells[3].trim_end_matches(['|', ' ']).split(", ");
        let uses = uses.filter(|name| *name != "-").map(str::to_owned).collect();
        crates.insert(name, (layer, uses));
    }
    crates
}

fn dependencies(manifest: &Table, section: &str) -> Vec<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table.map_or_else(Vec::new, |table| table.keys().cloned().collect())
}

#[test]
fn every_crate_uses_only_what_its_row_allows() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: Table = toml::from_str(&text).unwrap();
        let used = dependencies(&manifest, "dependencies");
        for (library, homes) in HOMES {
            if used.iter().any(|used| used == library) && !homes.contains(&name.as_str()) {
                wrong.push(format!("{name} uses {library}, whose home is {homes:?}"));
            }
        }
        if used.iter().any(|used| used == "preceptor-testkit") {
            wrong.push(format!("{name} uses testkit outside tests"));
        }
        if name == "testkit" {
            continue;
        }
        let Some((_, may_use)) = allowed.get(&name) else {
            wrong.push(format!("{name} has no row in ARCHITECTURE.md"));
            continue;
        };
        for used in used.iter().filter_map(|used| used.strip_prefix("preceptor-")) {
            if !may_use.contains(used) {
                wrong.push(format!("{name} uses {used}, which its row does not list"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every `.rs` file below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_crate_includes_a_file_of_another() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let mut files = Vec::new();
        sources(&folder.join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // Fixtures of tests are shared.
            let code = text.split("#[cfg(test)]").next().unwrap();
            let parts = code.split("include_str!(\"").chain(code.split("include_bytes!(\""));
            let included = parts.filter_map(|part| part.split_once('"').map(|(path, _)| path));
            for path in included.filter(|path| path.starts_with("../")) {
                // Folders between the file and its crate.
                let depth = file.strip_prefix(&folder).unwrap().components().count() - 1;
                if path.matches("../").count() > depth {
                    wrong.push(format!("{}: {path}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_arrow_of_the_table_points_down() {
    let allowed = allowed();
    assert!(allowed.len() >= 12, "the table was read: {}", allowed.len());
    for (name, (layer, uses)) in &allowed {
        for used in uses {
            let (below, _) = &allowed[used];
            assert!(below < layer, "{name} ({layer}) may use {used} ({below})");
        }
        assert!(root().join("crates").join(name).exists(), "{name} is there");
    }
}

#[test]
fn the_crates_that_reward_and_estimate_cannot_name_a_label() {
    let allowed = allowed();
    let reaches_labels = |name: &str| {
        let mut seen = BTreeSet::from([name.to_owned()]);
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            for used in &allowed[&next].1 {
                if seen.insert(used.clone()) {
                    open.push(used.clone());
                }
            }
        }
        seen.contains("benchmarks")
    };
    assert!(!reaches_labels("aggregators"));
    assert!(!reaches_labels("rewards"));
    assert!(!reaches_labels("judges"));
    assert!(!reaches_labels("models"));
    assert!(!reaches_labels("trainer"));
    assert!(!reaches_labels("reports"));
    assert!(reaches_labels("experiment"));
}
