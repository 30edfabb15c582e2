//! Phrases that this project does not use, in code, tests, documentation and manifests.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases that are refused in any case, each with its replacement. A `_` or `-` in front makes the end
/// of an identifier or key.
const BANNED: &[(&str, &str)] = &[
    ("to the bit", "bit-for-bit"),
    ("anew", "again"),
    ("graphics card", "GPU"),
    ("laboratory", "bundled model, suite or workspace"),
    ("held against", "compared with"),
    ("-a-step", "-per-step"),
    ("_a_step", "_per_step"),
    ("-a-pass", "-per-pass"),
    ("_a_pass", "_per_pass"),
    ("-a-call", "-per-call"),
    ("_a_call", "_per_call"),
    ("trainings", "training runs"),
    ("by itself", "alone"),
    ("goes on", "continues or resumes"),
];

/// First words that a doc comment does not have.
const OPENINGS: &[&str] = &["What", "Whether", "Which", "Why", "One", "The same", "Nothing"];

/// Phrases in the names of stored records, with their files.
const ALLOWED: &[(&str, &str)] = &[
    ("crates/store/src/spec.rs", "-a-call"),
    ("crates/experiment/src/plan/training.rs", "-a-step"),
    ("crates/experiment/src/plan/training.rs", "-a-pass"),
];

/// Folders with the endings of the files that are read in them, and files.
const READ: &[(&str, &str)] = &[
    ("crates", ".rs"),
    ("tests", ".rs"),
    ("docs", ".md"),
    ("experiments", ".toml"),
    ("README.md", ""),
    ("ARCHITECTURE.md", ""),
    ("CONTRIBUTING.md", ""),
    ("justfile", ""),
];

/// Not read: dated entries keep their words, and this file has to name the phrases.
const SKIPPED: &[&str] = &["docs/log", "tests/suite/voice.rs"];

#[test]
fn no_file_has_a_banned_phrase() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut files = Vec::new();
    for (name, ending) in READ {
        collect(root, Path::new(name), ending, &mut files);
    }
    assert!(files.len() > 400, "only {} files were found", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(root.join(&file)).expect("readable");
        let file = file.display().to_string();
        for (line, problem) in problems(&file, &text) {
            found.push(format!("{file}:{line}: {problem}"));
        }
    }
    assert!(found.is_empty(), "{} banned phrases:\n{}", found.len(), found.join("\n"));
}

/// Adds the files at or below `path` whose names have the ending.
fn collect(root: &Path, path: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    if SKIPPED.iter().any(|skipped| path == Path::new(skipped)) {
        return;
    }
    let full = root.join(path);
    if full.is_dir() {
        let entries = fs::read_dir(full).expect("readable").map(|entry| entry.expect("readable"));
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            collect(root, &path.join(name), ending, files);
        }
    } else if path.to_string_lossy().ends_with(ending) {
        files.push(path.to_owned());
    }
}

/// Returns the lines of a file with a banned phrase or opening.
fn problems(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_doc = false;
    for (i, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (phrase, instead) in BANNED {
            if has_phrase(&lower, phrase) && !ALLOWED.contains(&(file, phrase)) {
                found.push((i + 1, format!("`{phrase}`; write `{instead}`")));
            }
        }
        let doc = line.trim_start().strip_prefix("///").or(line.trim_start().strip_prefix("//!"));
        if let Some(doc) = doc.filter(|_| file.ends_with(".rs") && !in_doc) {
            let opening = OPENINGS.iter().find(|opening| {
                doc.trim_start().strip_prefix(**opening).is_some_and(|rest| !starts_in_word(rest))
            });
            if let Some(opening) = opening {
                found.push((i + 1, format!("a doc comment opens with `{opening}`")));
            }
        }
        in_doc = doc.is_some();
    }
    found
}

/// Returns true if `line` has `phrase` as whole words, or at the end of an identifier or key.
fn has_phrase(line: &str, phrase: &str) -> bool {
    let is_suffix = phrase.starts_with(['-', '_']);
    line.match_indices(phrase).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + phrase.len()..]);
        (is_suffix || !before.ends_with(char::is_alphanumeric)) && !starts_in_word(after)
    })
}

fn starts_in_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

#[test]
fn phrases_are_found_as_words_and_openings_at_the_start_of_a_comment() {
    let text = "/// Whether it is.\n/// What follows is fine.\nfn x() {} // Goes on by\n\
                let tokens_a_step = 1;\n/// Whatever.\nrestrainings, janewa\n";
    let lines: Vec<usize> = problems("a.rs", text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 3, 4]);
}
