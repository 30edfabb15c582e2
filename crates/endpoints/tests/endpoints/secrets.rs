//! The key goes into the header and nowhere else.

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use preceptor_core::{Generator, Sampling};
use preceptor_endpoints::{Config, Endpoint, Secret};
use preceptor_testkit::server::{Act, Received, Server, error, ok, says};
use serde_json::json;

use crate::support::{Heard, chain, config, request};

const KEY: &str = "sk-test-0123456789abcdef";

/// Keeps all that any library logs, at every level.
struct Logged(Mutex<String>);

static LOGGED: Logged = Logged(Mutex::new(String::new()));

impl Log for Logged {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut logged = self.0.lock().expect("no logger panicked");
        let (level, target) = (record.level(), record.target());
        logged.push_str(&format!("{level} {target} {}\n", record.args()));
    }

    fn flush(&self) {}
}

/// Servers that give the header back, each in another place.
fn echoing(received: &Received) -> Act {
    let header = received.authorization.clone().expect("a key was sent");
    match received.number {
        0 => error(400, &format!("bad header: {header}")),
        1 => Act::Answer(500, "", format!("<html>{header}</html>")),
        2 => Act::Answer(200, "", format!("{{\"choices\": \"{header}\"}}")),
        3 => ok(json!({"error": {"authorization": header}})),
        4 => ok(json!({"choices": [{"message": {"content": "4"}, "finish_reason": header}]})),
        5 => error(413, &format!("{}{header}", "x".repeat(280))),
        6 => says(&format!("you sent {header}")),
        7 => Act::Answer(429, "", json!({"detail": header}).to_string()),
        _ => error(401, &format!("no such key: {header}")),
    }
}

#[test]
fn a_key_that_a_server_gives_back_is_cut_out_everywhere() {
    log::set_logger(&LOGGED).expect("this is the only logger");
    log::set_max_level(LevelFilter::Trace);
    let server = Server::start(echoing);
    let config = Config {
        key_env: Some("TEST_KEY".to_owned()),
        max_retries: 0,
        concurrency: 1,
        ..config(&server)
    };
    let key = config.key(|name| (name == "TEST_KEY").then(|| KEY.to_owned())).unwrap();
    let endpoint = Endpoint::new("judge", &config, key).unwrap();
    let mut heard = Heard::default();
    let error = endpoint.generate(&[request(0..20)], &Sampling::default(), &mut heard).unwrap_err();
    let received = server.received();
    assert_eq!(received.len(), 9);
    let header = format!("Bearer {KEY}");
    assert!(received.iter().all(|call| call.authorization.as_deref() == Some(&header)));

    assert_eq!((heard.failures.len(), heard.rollouts.len()), (7, 1));
    assert_eq!(heard.rollouts[0].1.text, "you sent Bearer [redacted]");
    let details: Vec<_> = heard.failures.iter().map(|(.., failure)| failure.to_string()).collect();
    insta::assert_snapshot!(details.join("\n"), @r#"
    rejected: HTTP 400: bad header: Bearer [redacted]
    server-error: HTTP 500: <html>Bearer [redacted]</html>
    bad-reply: not an answer: invalid type: string "Bearer [redacted]", expected a sequence at line 1 column 45
    bad-reply: expected an answer, found an error: {"authorization":"Bearer [redacted]"}
    bad-reply: an answer that ended by `Bearer [redacted]`
    rejected: HTTP 413: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxBearer [redacted]
    rate-limited: HTTP 429: Bearer [redacted]
    "#);
    let shown = format!(
        "{details:?} {:?} {error:?} {} {endpoint:?} {} {:?}",
        heard.rollouts,
        chain(&error),
        toml::to_string(&config).unwrap(),
        endpoint.spent(),
    );
    assert!(shown.contains("no such key: Bearer [redacted]"), "{shown}");
    // Not even a part of it, as a cut might leave.
    assert!(!shown.contains(&KEY[..10]), "{shown}");
    let logged = LOGGED.0.lock().unwrap();
    assert!(!logged.is_empty(), "the library that makes the calls does log");
    assert!(!logged.contains(&KEY[..10]), "{logged}");
    assert!(!logged.contains("TRACE"), "raw bytes are written at that level");
}

#[test]
fn a_key_is_in_no_identity() {
    let server = Server::start(|_| says("4"));
    let identity = |key: &str| {
        let key = Some(Secret::new(key).unwrap());
        Endpoint::new("judge", &config(&server), key).unwrap().identity().clone()
    };
    assert_eq!(identity(KEY), identity("sk-another-0123456789"));
}
