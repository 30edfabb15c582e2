//! Runs whose models are behind endpoints: killed, refused, told a secret.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use preceptor_testkit::server::{Act, Received, Server, error, ok, says};
use serde_json::json;

use crate::process::{Finished, Folder, num_lines};
use crate::scripted::json as read_json;

const KEY: &str = "sk-process-0123456789abcdef";

/// A policy and a judge behind one server, four calls at a time.
fn write_remote(folder: &Folder, server: &Server) {
    let manifest = format!(
        r#"title = "Remote"
[endpoints.remote]
base-urls = ["{}"]
model = "remote"
concurrency = 4
max-retries = 1
retry-base-millis = 1
key-env = "TEST_KEY"
[policy]
model = "remote"
[benchmark]
kind = "arithmetic"
shots = 0
limit = 12
[sampling]
group-size = 4
[judge]
model = "remote"
style = "yes-no"
attempts = 1
[aggregator]
kind = "majority"
[reward]
terms = [{{ kind = "judge" }}]
"#,
        server.url()
    );
    folder.write("remote.toml", &manifest);
}

fn run(folder: &Folder, store: &str) -> Finished {
    let arguments = ["run", "remote.toml", "--store", store];
    folder.finish(folder.command(&arguments).env("TEST_KEY", KEY))
}

/// A sum for the policy, a word for the judge, by nothing but the call.
fn answer(received: &Received) -> Act {
    if received.path.ends_with("/chat/completions") {
        says(if received.seed().is_multiple_of(2) { "yes" } else { "no" })
    } else {
        says(&format!(r" \boxed{{{}}}", received.seed() % 7))
    }
}

/// Number of times that each call came in; calls are the same if their bodies are.
fn times_asked(server: &Server) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for received in server.received() {
        *times.entry(received.body.to_string()).or_insert(0) += 1;
    }
    times
}

#[test]
fn a_killed_process_asks_again_only_for_the_calls_in_flight() {
    const CALLS_AT_ONCE: usize = 4;
    let folder = Folder::new();
    let undisturbed = Server::start(answer);
    write_remote(&folder, &undisturbed);
    run(&folder, "whole").expect_done();
    let num_calls = undisturbed.received().len();
    assert!(times_asked(&undisturbed).values().all(|times| *times == 1));

    // Answers this many calls and lets the others wait.
    let num_answered = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let num_answered = Arc::clone(&num_answered);
        move |received| {
            while received.number >= num_answered.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            answer(received)
        }
    });
    write_remote(&folder, &server);
    // In the middle of the 48 rollouts; then, with four calls asked twice, in the middle of the judging.
    let middle_of_judging = 48 + CALLS_AT_ONCE + (num_calls - 48) / 2;
    let mut num_wasted = 0;
    for (stop, on_disk) in [(20, 20), (middle_of_judging, (num_calls - 48) / 2)] {
        num_answered.store(stop, Ordering::SeqCst);
        let mut command = folder.command(&["run", "remote.toml", "--store", "killed"]);
        command.env("TEST_KEY", KEY).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the command starts");
        let store = folder.path("killed");
        while server.received().len() < stop + CALLS_AT_ONCE || num_lines(&store) < on_disk {
            assert!(child.try_wait().expect("a child").is_none(), "it ended too early");
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
        num_wasted += CALLS_AT_ONCE;
    }
    num_answered.store(usize::MAX, Ordering::SeqCst);
    run(&folder, "killed").expect_done();

    let times = times_asked(&server);
    assert_eq!(times.len(), num_calls);
    assert_eq!(server.received().len(), num_calls + num_wasted);
    assert!(times.values().all(|times| *times <= 2));
    assert_eq!(folder.records("killed"), folder.records("whole"));
}

/// Every file below `folder`, compressed ones unpacked as well.
fn everything_written(folder: &Path, contents: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            everything_written(&path, contents);
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        if path.extension().is_some_and(|extension| extension == "zst") {
            let unpacked = zstd::decode_all(bytes.as_slice()).expect("whole");
            contents.push((path.display().to_string(), unpacked));
        }
        contents.push((path.display().to_string(), bytes));
    }
}

/// Checks that no part of the key, as a cut might leave it, is in any output or file.
#[track_caller]
fn no_key(folder: &Folder, said: &Finished) {
    let part = &KEY.as_bytes()[..14];
    let holds = |bytes: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!holds(said.stdout.as_bytes()) && !holds(said.stderr.as_bytes()), "{}", said.said());
    let mut contents = Vec::new();
    everything_written(&folder.path("."), &mut contents);
    for (path, bytes) in contents {
        assert!(!holds(&bytes), "{path}");
    }
}

#[test]
fn the_key_is_written_nowhere_whatever_the_server_does_with_it() {
    let folder = Folder::new();
    let server = Server::start(|received| {
        let header = received.authorization.clone().unwrap_or_default();
        match received.number {
            0 => error(400, &format!("bad header: {header}")),
            1 => says(&format!(r"you sent {header}, \boxed{{1}}")),
            2 => ok(json!({"error": {"authorization": header}})),
            20 => Act::Answer(401, "", json!({"error": {"message": header}}).to_string()),
            _ => answer(received),
        }
    });
    write_remote(&folder, &server);
    let refused = run(&folder, "runs");
    let header = format!("Bearer {KEY}");
    assert!(server.received().iter().all(|call| call.authorization.as_ref() == Some(&header)));
    no_key(&folder, &refused);
    insta::assert_snapshot!(refused.said().replace(&server.url(), "[url]"));
    // The server lets it in from now on.
    let finished = run(&folder, "runs");
    no_key(&folder, &finished);
    let slice = folder.path("reports/remote/explorer/arithmetic/0000.js");
    let slice = fs::read_to_string(slice).unwrap();
    assert!(slice.contains("you sent Bearer [redacted]"));
    for command in ["plan", "status", "report"] {
        no_key(&folder, &folder.run(&["--json", command, "remote.toml"]));
    }
}

#[test]
fn a_key_that_is_not_there_stops_the_run_before_any_call() {
    let folder = Folder::new();
    let server = Server::start(answer);
    write_remote(&folder, &server);
    let run = ["run", "remote.toml"];
    insta::assert_snapshot!(
        "key-unset",
        folder.finish(folder.command(&run).env_remove("TEST_KEY")).said()
    );
    insta::assert_snapshot!(
        "key-blank",
        folder.finish(folder.command(&run).env("TEST_KEY", " ")).said()
    );
    let broken = folder.finish(folder.command(&run).env("TEST_KEY", "sk-process-0123\nx"));
    no_key(&folder, &broken);
    insta::assert_snapshot!("key-malformed", broken.said());
    assert!(server.received().is_empty());
}

#[test]
fn the_key_of_a_judge_is_asked_for_before_the_first_rollout() {
    let folder = Folder::new();
    let server = Server::start(answer);
    write_remote(&folder, &server);
    let manifest = fs::read_to_string(folder.path("remote.toml")).unwrap();
    let judge = manifest.replace("[judge]\nmodel = \"remote\"", "[judge]\nmodel = \"judge\"");
    let endpoint = format!(
        "[endpoints.judge]\nbase-urls = [\"{}\"]\nmodel = \"judge\"\nkey-env = \"JUDGE_KEY\"\n",
        server.url()
    );
    folder.write("remote.toml", &format!("{judge}{endpoint}"));
    let run = |key: Option<&str>| {
        let mut command = folder.command(&["run", "remote.toml"]);
        command
            .env("TEST_KEY", KEY)
            .env_remove("JUDGE_KEY")
            .envs(key.map(|key| ("JUDGE_KEY", key)));
        folder.finish(&mut command)
    };
    insta::assert_snapshot!(run(None).said());
    assert!(server.received().is_empty());
    run(Some("sk-judge")).expect_done();
    // No endpoint is asked any more, so no key is needed.
    folder.finish(folder.command(&["run", "remote.toml"]).env_remove("TEST_KEY")).expect_done();
}

#[test]
fn the_plan_says_what_endpoints_will_cost() {
    let folder = Folder::new();
    let server = Server::start(answer);
    write_remote(&folder, &server);
    let shown = || {
        let plan = folder.run(&["plan", "remote.toml"]).expect_done().stdout;
        plan.lines()
            .filter(|line| line.starts_with("`remote`"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    insta::assert_snapshot!(
        shown().join("\n"),
        @"`remote` reads up to about 37440 tokens and writes 49152, without retries: no prices given."
    );
    let right = fs::read_to_string(folder.path("remote.toml")).unwrap();
    let prices = "prompt-price = 2.0\ngenerated-price = 10.0\nmax-retries = 1";
    folder.write("remote.toml", &right.replace("max-retries = 1", prices));
    insta::assert_snapshot!(
        shown().join("\n"),
        @"`remote` reads up to about 37440 tokens and writes 49152, without retries: 0.5664 USD."
    );
    let plan = || read_json(&folder.run(&["--json", "plan", "remote.toml"]).expect_done().stdout);
    let expense = &plan()["expenses"][0];
    let number = |key: &str| expense[key].as_f64().expect("a number");
    // 48 rollouts and as many verdicts, each of up to 512 tokens.
    assert_eq!(number("generated-tokens"), 2.0 * 48.0 * 512.0);
    let cost = (2.0 * number("prompt-tokens") + 10.0 * number("generated-tokens")) / 1e6;
    assert!((number("cost-usd") - cost).abs() < 1e-9);
    run(&folder, "runs").expect_done();
    assert_eq!(plan()["expenses"], json!([]));
}

#[test]
fn what_is_wrong_with_an_endpoint_is_named_with_its_line_and_what_is_allowed() {
    let folder = Folder::new();
    let server = Server::start(answer);
    write_remote(&folder, &server);
    let right = fs::read_to_string(folder.path("remote.toml")).unwrap();
    let urls = format!("base-urls = [\"{}\"]\n", server.url());
    let wrong = |from: &str, to: &str| {
        assert!(right.contains(from), "{from}");
        folder.write("remote.toml", &right.replace(from, to));
        folder.run(&["plan", "remote.toml"]).said().replace(&server.url(), "[url]")
    };
    let messages = [
        wrong("concurrency = 4", "concurency = 4"),
        wrong("key-env = \"TEST_KEY\"", "api-key = \"sk\""),
        wrong(&urls, ""),
        wrong(&urls, "base-urls = []\n"),
        wrong(&urls, &urls.replace("base-urls = [", "base-url = ").replace(']', "")),
        wrong(&urls, &format!("{urls}base-url = \"http://elsewhere\"\n")),
        wrong(&urls, "base-urls = [\"elsewhere:8000\"]\n"),
        wrong("model = \"remote\"\nconcurrency", "concurrency"),
        wrong("concurrency = 4", "dialect = \"open-ai\""),
        wrong("concurrency = 4", "concurrency = 0"),
        wrong("concurrency = 4", "concurrency = \"all\""),
        wrong("max-retries = 1", "budget = 5.0"),
        wrong("max-retries = 1", "budget = 0.0\nprompt-price = 1.0"),
        wrong("max-retries = 1", "prompt-price = -1.0"),
        wrong("max-retries = 1", "timeout-secs = 0"),
        wrong("max-retries = 1", "scoring = true"),
        wrong("max-retries = 1", "extra = { temperature = 0.5 }"),
        wrong("key-env = \"TEST_KEY\"", "key-env = \"\""),
        wrong("[endpoints.remote]", "[endpoints.smollm2-135m]"),
        wrong("[endpoints.remote]", "[endpoints.other]"),
        wrong("[endpoints.remote]", "[endpoints]"),
    ];
    insta::assert_snapshot!("endpoint-settings", messages.join("\n"));
    // What a dialect can't say is known once it is asked for.
    folder.write("remote.toml", &right.replace("[sampling]", "[sampling]\ntop-k = 5"));
    insta::assert_snapshot!("endpoint-dialect", run(&folder, "runs").said());
    assert!(server.received().is_empty());
}
