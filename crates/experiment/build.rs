//! Records the revision of the code, so that every result can name it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../.git/index");
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let revision = match git(&["rev-parse", "HEAD"]) {
        None => "unknown".to_owned(),
        Some(revision) => match git(&["status", "--porcelain", "--untracked-files=no"]) {
            Some(changes) if changes.is_empty() => revision,
            _ => format!("{revision} with changes"),
        },
    };
    println!("cargo:rustc-env=PRECEPTOR_CODE_REVISION={revision}");
}
