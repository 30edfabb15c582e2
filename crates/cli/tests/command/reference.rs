//! `docs/reference/commands.md` is the help of the program.

use std::fs;

use crate::process::Folder;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/commands.md");
const HEAD: &str = "# Commands

The help of every command (`preceptor help COMMAND`). A test writes this page: `PRECEPTOR_WRITE_DOCS=1 cargo test --workspace reference`.
";

/// The help of a command and of those below it.
fn describe(folder: &Folder, command: &[&str], out: &mut String) {
    let mut asked = folder.command(&[&["help"], command].concat());
    let help = folder.finish(asked.env_remove("COLUMNS")).expect_done().stdout;
    let name = [&["preceptor"], command].concat().join(" ");
    out.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.trim_end()));
    let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let listed = commands.lines().take_while(|line| !line.is_empty());
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    for line in listed.filter(is_name) {
        let below = line.split_whitespace().next().expect("a name");
        if below != "help" {
            describe(folder, &[command, &[below]].concat(), out);
        }
    }
}

#[test]
fn the_page_of_commands_is_the_help_of_the_program() {
    let mut page = HEAD.to_owned();
    describe(&Folder::new(), &[], &mut page);
    if std::env::var_os("PRECEPTOR_WRITE_DOCS").is_some() {
        fs::write(PATH, &page).expect("written");
    }
    let committed = fs::read_to_string(PATH).expect("a committed page");
    assert!(page == committed, "write it again with PRECEPTOR_WRITE_DOCS=1");
}
