//! Records the revision of the code, so that every result can name it.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Paths of the code; a report that is written again is no change of it.
const CODE: [&str; 3] = [":/crates", ":/Cargo.toml", ":/Cargo.lock"];

fn main() {
    // The log of HEAD grows with every commit and checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    let crates = fs::read_dir("..").expect("this crate is a sibling of the others");
    let sources = crates.flatten().map(|entry| entry.path().join("src").display().to_string());
    for path in log.into_iter().chain(["../../Cargo.lock".to_owned()]).chain(sources) {
        // What does not exist would count as changed in every build.
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let status = ["--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--"];
    let revision = match git(&["rev-parse", "HEAD"]) {
        None => "unknown".to_owned(),
        Some(revision) => match git(&[&status[..], &CODE].concat()) {
            Some(changes) if changes.is_empty() => revision,
            _ => format!("{revision} with changes"),
        },
    };
    println!("cargo:rustc-env=PRECEPTOR_CODE_REVISION={revision}");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
