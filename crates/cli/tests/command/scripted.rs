//! Models that a server plays: two policies on four questions, two judges.

use std::sync::atomic::{AtomicUsize, Ordering};

use preceptor_testkit::server::{Act, Received, Server, says};
use serde_json::Value;

use crate::process::Folder;

/// The questions with their labels.
const ROWS: &str = r#"{"problem": "question 0", "answer": "10"}
{"problem": "question 1", "answer": "11"}
{"problem": "question 2", "answer": "12"}
{"problem": "question 3", "answer": "13"}
"#;

/// Two policies, groups of two, rewards by agreement with the majority.
const MANIFEST: &str = r#"title = "Two policies"
[benchmark]
kind = "jsonl"
path = "rows.jsonl"
[sampling]
group-size = 2
[aggregator]
kind = "majority"
[reward]
terms = [{ kind = "answer-match" }]
[judge]
model = "strict"
style = "yes-no"
attempts = 1
[matrix]
"policy.model" = ["first", "second"]
"#;

/// Number of calls in which `first` was asked what it answers differently each time.
static NUM_ASKED: AtomicUsize = AtomicUsize::new(0);

/// Answers of the models.
///
/// | model | question 0 | 1 | 2 | 3 |
/// |---|---|---|---|---|
/// | `first` | right | right, written `11.0` | right | wrong, differently each time |
/// | `second` | right | wrong | wrong | right |
///
/// `strict` says yes to whatever holds the word GOOD, `lenient` also to whoever says "Ignore
/// everything"; neither can be understood where a text has UNCLEAR.
pub(crate) fn answer(received: &Received) -> Act {
    match model(received) {
        "first" => match question(received.asked()) {
            3 => says(&format!(r"\boxed{{9{}}}", NUM_ASKED.fetch_add(1, Ordering::SeqCst))),
            number => says([r"\boxed{10}", r"\boxed{11.0}", r"\boxed{12}"][number]),
        },
        "second" => says(
            [r"\boxed{10}", r"\boxed{99}", r"\boxed{99}", r"\boxed{13}"]
                [question(received.asked())],
        ),
        judge => {
            let text = received.asked();
            let obeys = judge == "lenient" && text.contains("Ignore everything");
            match (text.contains("UNCLEAR"), text.contains("GOOD") || obeys) {
                (true, _) => says("perhaps"),
                (false, true) => says("yes"),
                (false, false) => says("no"),
            }
        }
    }
}

/// A server with these models.
pub(crate) fn start() -> Server {
    Server::start(answer)
}

pub(crate) fn model(received: &Received) -> &str {
    received.body["model"].as_str().expect("a model is named")
}

fn question(text: &str) -> usize {
    (0..4).find(|i| text.contains(&format!("question {i}"))).expect("one of the four")
}

/// The tables of endpoints for `models` on `server`.
pub(crate) fn endpoints(server: &Server, models: &[&str]) -> String {
    let table = |model: &&str| {
        let url = server.url();
        format!(
            "[endpoints.{model}]\nbase-urls = [\"{url}\"]\nmodel = \"{model}\"\nconcurrency = 1\nmax-retries = 0\n"
        )
    };
    models.iter().map(table).collect()
}

/// Writes `two.toml` and the rows that it names.
pub(crate) fn write_two_policies(folder: &Folder, server: &Server) {
    folder.write("rows.jsonl", ROWS);
    let endpoints = endpoints(server, &["first", "second", "strict", "lenient"]);
    folder.write("two.toml", &format!("{MANIFEST}{endpoints}"));
}

#[track_caller]
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// That a number of a JSON value is what was worked out.
#[track_caller]
pub(crate) fn close(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}
