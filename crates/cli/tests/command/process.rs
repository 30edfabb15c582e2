//! Running the command in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A random checkpoint of a few thousand parameters: the whole machinery, nothing worth reading.
pub(crate) const TINY_MODEL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parity/llama");

/// A folder with its own cache, configuration and store.
pub(crate) struct Folder {
    folder: tempfile::TempDir,
}

/// Output of a finished command.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writable");
    }

    /// Lets the data set `name` be these rows, for commands whose data folder is `data`.
    pub(crate) fn write_data(&self, name: &str, rows: &str) {
        fs::create_dir_all(self.path("data")).expect("writable");
        fs::create_dir_all(self.path("config")).expect("writable");
        self.write("data/rows.jsonl", rows);
        let head = format!("[{name}]\nsummary = \"s\"\nlicense = \"l\"\n");
        let source = format!("[[{name}.sources]]\nfile = \"rows.jsonl\"\n");
        self.write("config/data.toml", &format!("{head}{source}"));
    }

    /// A manifest over generated sums for the tiny model, `limit` prompts, groups of 4 and 8.
    pub(crate) fn write_manifest(&self, limit: usize) {
        let manifest = format!(
            r#"title = "Tiny"
seeds = [0]
[policy]
model = "{TINY_MODEL}"
[benchmark]
kind = "arithmetic"
terms = 2
shots = 1
limit = {limit}
[sampling]
max-new-tokens = 12
stop = []
[matrix]
"aggregator.kind" = ["single", "majority", "oracle"]
"sampling.group-size" = [4, 8]
"#
        );
        self.write("tiny.toml", &manifest);
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_preceptor"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PRECEPTOR_CACHE_DIR", self.path("cache"))
            .env("PRECEPTOR_CONFIG_DIR", self.path("config"))
            .env_remove("PRECEPTOR_DATA_DIR")
            .env_remove("PRECEPTOR_MODELS_DIR")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the command starts")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.finish(&mut self.command(arguments))
    }

    pub(crate) fn finish(&self, command: &mut Command) -> Finished {
        let output = command.output().expect("the command starts");
        let text = |bytes: Vec<u8>| self.redact(&String::from_utf8_lossy(&bytes));
        Finished {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    fn redact(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[dir]")
            .replace(TINY_MODEL, "[tiny-model]")
    }

    /// Every record of every stage below `store`, line by line.
    pub(crate) fn records(&self, store: &str) -> BTreeMap<String, Vec<String>> {
        let mut stages = BTreeMap::new();
        for entry in fs::read_dir(self.path(store).join("stages")).expect("a store") {
            let stage = entry.expect("readable").path();
            let compacted = fs::read(stage.join("records.jsonl.zst")).expect("a finished stage");
            let text = zstd::decode_all(compacted.as_slice()).expect("whole");
            let lines = String::from_utf8(text).expect("text").lines().map(str::to_owned).collect();
            stages.insert(stage.file_name().expect("named").to_string_lossy().into_owned(), lines);
        }
        stages
    }
}

impl Finished {
    /// Exit code and what was said, for snapshots.
    pub(crate) fn said(&self) -> String {
        format!("exit {:?}\n{}{}", self.code, self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn expect_done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

/// Lines in every part below `store`: rollouts that are on the disk.
pub(crate) fn num_lines(store: &Path) -> usize {
    let Ok(stages) = fs::read_dir(store.join("stages")) else { return 0 };
    let parts = stages.flatten().flat_map(|stage| fs::read_dir(stage.path()).into_iter().flatten());
    let texts =
        parts.flatten().filter(|part| part.file_name().to_string_lossy().starts_with("part-"));
    texts
        .map(|part| {
            fs::read(part.path()).map_or(0, |text| text.iter().filter(|b| **b == b'\n').count())
        })
        .sum()
}
