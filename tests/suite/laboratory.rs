//! A laboratory for tests: a scripted model, a folder, a manifest.

use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::{Digest, Generator, ModelIdentity, Prompt, RolloutSeed};
use preceptor_experiment::{
    Document, Error, ModelHost, NoProgress, Plan, ResolveOptions, RunOptions, RunSummary, resolve,
    run,
};
use preceptor_files::{Files, Places, SamplingDefaults};
use preceptor_store::Store;
use preceptor_testkit::ScriptedGenerator;

/// Answers from 0 to 3, by the rollout's stream.
fn answer(_prompt: &Prompt, rollout: RolloutSeed) -> String {
    format!(r"I think it is \boxed{{{}}}.", rollout.seed.draw_below(4))
}

/// Hands out the scripted model and counts how often it was loaded.
#[derive(Default)]
pub(crate) struct ScriptedHost {
    pub(crate) num_opened: usize,
}

impl ModelHost for ScriptedHost {
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error> {
        Ok(ScriptedGenerator::new(name, answer).identity().clone())
    }

    fn sampling_defaults(&self, _name: &str) -> SamplingDefaults {
        SamplingDefaults::default()
    }

    fn open(&mut self, name: &str) -> Result<Box<dyn Generator>, Error> {
        self.num_opened += 1;
        Ok(Box::new(ScriptedGenerator::new(name, answer)))
    }
}

/// A temporary folder with a store and whatever files a test writes.
pub(crate) struct Laboratory {
    folder: tempfile::TempDir,
    pub(crate) host: ScriptedHost,
}

impl Laboratory {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, host: ScriptedHost::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("writable");
        fs::write(&path, text).expect("writable");
        path
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.path("runs")).expect("a store")
    }

    /// The plan of the manifest at `path` with `settings` of the command line.
    pub(crate) fn plan(&mut self, path: &Path, settings: &[&str]) -> Result<Plan, Error> {
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let document = Document::read(path, &settings)?;
        resolve(&document, &self.files(), &mut self.host, ResolveOptions::default())
    }

    pub(crate) fn run(&mut self, plan: &Plan) -> Result<RunSummary, Error> {
        let store = self.store();
        run(plan, &store, &mut self.host, RunOptions::default(), &mut NoProgress)
    }

    /// Writes the report of `plan` and returns its folder.
    pub(crate) fn report(&self, plan: &Plan) -> PathBuf {
        let store = self.store();
        let digest = store.put_plan(&plan.record()).expect("the plan can be kept");
        let folder = self.path("report");
        preceptor_reports::write(&store, &digest, &folder).expect("the report can be written");
        folder
    }

    /// Messages without what differs from machine to machine.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[dir]")
    }

    fn files(&self) -> Files {
        let path = |name: &str| self.folder.path().join(name);
        let places = Places {
            cache: path("cache"),
            models: path("models"),
            data: Some(path("data")),
            config: path("config"),
        };
        Files::open(places).expect("the built-in registry")
    }
}

/// A digest for redaction: 64 hexadecimal digits look alike.
pub(crate) fn without_digests(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        match word.len() {
            64 => out.push_str("[digest]"),
            40 => out.push_str("[revision]"),
            _ => out.push_str(word),
        }
        out.push_str(&piece[word.len()..]);
    }
    out.replace("[revision] with changes", "[revision]")
}

#[test]
fn digests_are_redacted_and_words_are_not() {
    let digest = Digest::of(b"x");
    assert_eq!(without_digests(&format!("a {digest}, bad cafe")), "a [digest], bad cafe");
}
