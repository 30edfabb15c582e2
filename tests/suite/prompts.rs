//! Prompt files are versioned: a file that changes gets a new name.

use std::fs;
use std::path::Path;

use preceptor_core::Digest;

#[test]
fn no_prompt_file_changes_under_its_name() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&crates).unwrap() {
        let folder = entry.unwrap().path().join("prompts");
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let digest = Digest::of(&fs::read(&path).unwrap());
            let name = path.strip_prefix(&crates).unwrap().display().to_string();
            lines.push(format!("{} {name}", digest.short()));
        }
    }
    lines.sort_by(|a, b| a[13..].cmp(&b[13..]));
    insta::assert_snapshot!(lines.join("\n"));
}
