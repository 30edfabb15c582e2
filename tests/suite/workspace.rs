//! A workspace for tests: a scripted model, a folder, a manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use preceptor_core::{
    CallFailure, CallFailureKind, Continuation, Digest, GenerationObserver, GenerationRequest,
    Generator, LanguageModel, ModelIdentity, PortError, Prompt, Rollout, RolloutSeed, Sampling,
    ScoreRequest, Scorer, Seed, Thinking, TokenScores,
};
use preceptor_experiment::{
    Document, Error, ModelDirectory, ModelLoader, NoProgress, Plan, ResolveOptions, RunOptions,
    RunSummary, resolve, run,
};
use preceptor_files::{Files, Hub, Places, SamplingDefaults};
use preceptor_store::Store;
use preceptor_testkit::ScriptedModel;

/// A thought of the scripted model, which no other model may be shown.
pub(crate) const THOUGHT: &str = r"<think>Is it \boxed{9}?</think>";

/// Answers by what is asked: rollouts from 0 to 3 by their stream, and the form that the prompt of an
/// anchor or a judge wants, seeded by the question.
fn answer(prompt: &Prompt, rollout: RolloutSeed) -> String {
    let text = prompt.question_text();
    assert!(!text.contains("Is it"), "a thought was shown: {text}");
    let seed = Seed::root(0).derive(&text).derive_index(u64::from(rollout.index));
    let id = prompt.id.as_str();
    if id.contains("/synthesis/") {
        format!(
            "## Summary\n\n-\n\n## Unified response\n\nIt is \\boxed{{{}}}.",
            seed.draw_below(5)
        )
    } else if id.ends_with("/self-bon") {
        format!("Response {}", 1 + seed.draw_below(2))
    } else if text.contains("criteria_met") {
        format!("{{\"explanation\": \"\", \"criteria_met\": {}}}", seed.draw_below(2) == 0)
    } else if text.contains("<rubric>") {
        let criterion =
            |i: u64| format!("<criterion>point {i} of {}</criterion>", seed.draw_below(9));
        format!("<rubric>{}</rubric>", (0..5).map(criterion).collect::<String>())
    } else if text.contains("\"answer\"") {
        format!("{{\"reason\": \"\", \"answer\": {}}}", seed.draw_below(2) == 0)
    } else if prompt.thinking == Thinking::On {
        let answer = rollout.seed.draw_below(4);
        format!(r"{THOUGHT}I think it is \boxed{{{answer}}}.")
    } else {
        format!(r"I think it is \boxed{{{}}}.", rollout.seed.draw_below(4))
    }
}

/// Returns a log-probability for each word, from everything that was read.
fn logprobs(prompt: &Prompt, continuation: &Continuation) -> Vec<f32> {
    let read = Seed::root(0).derive(&prompt.question_text());
    let number = |(i, word): (usize, &str)| {
        -(read.derive(word).derive_index(i as u64).draw_below(1 << 16) as f32) / 1e4
    };
    match continuation {
        Continuation::Text(text) => text.split_whitespace().enumerate().map(number).collect(),
        Continuation::Tokens(tokens) => vec![-1.0; tokens.len()],
    }
}

/// The scripted model called `name`; a few of its calls fail where `failing` says so.
struct Scripted {
    model: Box<dyn LanguageModel>,
    failing: Option<fn(&Prompt, Seed) -> Option<CallFailureKind>>,
}

impl Generator for Scripted {
    fn identity(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        observer: &mut dyn GenerationObserver,
    ) -> Result<Vec<Vec<Rollout>>, PortError> {
        let mut kept = requests.to_vec();
        if let Some(failing) = self.failing {
            for (number, request) in kept.iter_mut().enumerate() {
                let prompt = &request.prompt;
                request.rollouts.retain(|seed| {
                    let failure = failing(prompt, seed.seed);
                    if let Some(kind) = failure {
                        let detail = "as the test wants it".to_owned();
                        observer.on_failure(number, seed.index, &CallFailure { kind, detail });
                    }
                    failure.is_none()
                });
            }
        }
        self.model.generate(&kept, sampling, observer)
    }
}

impl Scorer for Scripted {
    fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<TokenScores>, PortError> {
        self.model.score(requests)
    }
}

/// Hands out the scripted model and counts how often it was loaded.
#[derive(Default)]
pub(crate) struct ScriptedHost {
    pub(crate) num_opened: usize,
    /// The sampling that the registry gives each model.
    sampling: BTreeMap<String, SamplingDefaults>,
    /// Free memory, in models.
    pub(crate) num_free: Option<u64>,
    /// Calls of the model called `judge` that fail.
    pub(crate) failing: Option<fn(&Prompt, Seed) -> Option<CallFailureKind>>,
    /// True if the models' chat template has a switch for thinking.
    pub(crate) can_think: bool,
}

impl ModelDirectory for ScriptedHost {
    fn identify(&mut self, name: &str) -> Result<ModelIdentity, Error> {
        Ok(ScriptedModel::new(name, answer, logprobs).identity().clone())
    }

    fn can_think(&mut self, _name: &str) -> Result<bool, Error> {
        Ok(self.can_think)
    }

    fn sampling_defaults(&self, name: &str) -> SamplingDefaults {
        self.sampling.get(name).copied().unwrap_or_default()
    }
}

impl ModelLoader for ScriptedHost {
    fn weight_bytes(&self, _name: &str) -> Option<u64> {
        Some(1)
    }

    fn free_bytes(&self) -> Option<u64> {
        self.num_free
    }

    fn open(&mut self, name: &str) -> Result<Rc<dyn LanguageModel>, Error> {
        self.num_opened += 1;
        let failing = self.failing.filter(|_| name == "judge");
        let model = Box::new(ScriptedModel::new(name, answer, logprobs));
        Ok(Rc::new(Scripted { model, failing }))
    }
}

/// A temporary folder with a store and whatever files a test writes.
pub(crate) struct Workspace {
    folder: tempfile::TempDir,
    pub(crate) host: ScriptedHost,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut workspace = Self { folder, host: ScriptedHost::default() };
        let files = workspace.files();
        let models = files.registry().models.iter();
        workspace.host.sampling =
            models.map(|(name, entry)| (name.clone(), entry.sampling)).collect();
        workspace
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
        preceptor_reports::write(
            &store,
            &digest,
            &folder,
            preceptor_reports::ReportOptions::default(),
        )
        .expect("the report can be written");
        folder
    }

    /// Messages without what differs from machine to machine.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "[dir]")
    }

    /// Registers the file at `path` below the data folder as the data set `name`.
    pub(crate) fn register_data(&self, name: &str, path: &str) {
        let known = fs::read_to_string(self.path("config/data.toml")).unwrap_or_default();
        let entry = format!(
            "[{name}]\nsummary = \"s\"\nlicense = \"l\"\n[[{name}.sources]]\nfile = \"{path}\"\n"
        );
        self.write("config/data.toml", &(known + &entry));
    }

    fn files(&self) -> Files {
        let path = |name: &str| self.folder.path().join(name);
        let places = Places {
            cache: path("cache"),
            models: path("models"),
            data: Some(path("data")),
            config: path("config"),
            hub: Hub { endpoint: "http://127.0.0.1:9".to_owned(), token: None },
        };
        Files::open(places).expect("the built-in registry")
    }
}

/// A row of HealthBench's published schema with three items; the texts are invented.
pub(crate) fn health_row(id: &str, i: usize) -> String {
    let item = |criterion: &str, points: i32, axis: &str| {
        format!(
            r#"{{"criterion": "{criterion} {i}", "points": {points}, "tags": ["axis:{axis}"]}}"#
        )
    };
    let items = [
        item("names the dose for", 5, "accuracy"),
        item("asks back about", 3, "context_awareness"),
        item("frightens", -4, "accuracy"),
    ];
    let prompt = format!(r#"[{{"role": "user", "content": "case {i}"}}]"#);
    let tags = format!(r#"["theme:t{}"]"#, i % 2);
    format!(
        r#"{{"prompt_id": "{id}", "prompt": {prompt}, "example_tags": {tags}, "rubrics": [{}], "ideal_completions_data": null, "canary": ""}}"#,
        items.join(", ")
    ) + "\n"
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
