//! Retries, errors and failed rollouts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use preceptor_core::{CallFailureKind, Generator, PortError, Sampling};
use preceptor_endpoints::{Config, Error};
use preceptor_testkit::server::{Act, Server, closed, error, ok, says, truncated};

use crate::support::{
    Heard, chain, config, draw_one, endpoint, fail_one, index_of, request, stop_one,
};

/// A server that does these in turn, then answers.
fn first(acts: Vec<fn() -> Act>) -> Server {
    Server::start(move |received| acts.get(received.number).map_or_else(|| says("4"), |act| act()))
}

fn garbled() -> Act {
    ok(serde_json::json!({"hello": "there"}))
}

#[test]
fn transient_failures_are_retried() {
    let passing: [fn() -> Act; 9] = [
        || error(500, "oops"),
        || error(429, "slow down"),
        || Act::Answer(429, "retry-after: 0\r\n", String::new()),
        || error(408, "too slow"),
        || error(409, "busy"),
        truncated,
        closed,
        garbled,
        || Act::Answer(200, "", "{not json".to_owned()),
    ];
    for act in passing {
        let server = first(vec![act, act]);
        assert_eq!(draw_one(&endpoint(&config(&server))).text, "4");
        let bodies: Vec<_> = server.received().into_iter().map(|call| call.body).collect();
        assert_eq!(bodies.len(), 3);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "a retry asks the same");
    }
}

#[test]
fn retries_end_and_the_last_failure_is_told() {
    let kinds: [(fn() -> Act, CallFailureKind); 7] = [
        (|| error(500, "oops"), CallFailureKind::ServerError),
        (|| error(429, "slow down"), CallFailureKind::RateLimited),
        (truncated, CallFailureKind::Connection),
        (closed, CallFailureKind::Connection),
        (garbled, CallFailureKind::BadReply),
        (|| Act::Answer(200, "", "x".repeat(17 << 20)), CallFailureKind::BadReply),
        (|| Act::Raw(b"HTTP/9 what\r\n\r\n".to_vec()), CallFailureKind::BadReply),
    ];
    for (act, kind) in kinds {
        let server = Server::start(move |_| act());
        let failure = fail_one(&endpoint(&config(&server)));
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.detail.ends_with("(tried 3 times)"), "{failure}");
        assert_eq!(server.received().len(), 3);
    }
    let server = Server::start(|_| error(500, "two\nlines of what went wrong"));
    let failure = fail_one(&endpoint(&config(&server)));
    insta::assert_snapshot!(failure, @"server-error: HTTP 500: two lines of what went wrong (tried 3 times)");
}

#[test]
fn a_refused_call_is_data_and_not_tried_again() {
    for status in [400, 413, 422] {
        let server = Server::start(move |_| error(status, "no such parameter"));
        let failure = fail_one(&endpoint(&config(&server)));
        assert_eq!(failure.kind, CallFailureKind::Rejected);
        assert_eq!(failure.detail, format!("HTTP {status}: no such parameter"));
        assert_eq!(server.received().len(), 1);
    }
}

#[test]
fn a_slow_drip_reaches_the_time_limit_of_the_whole_call() {
    let server = Server::start(|_| Act::Drip);
    let config = Config { timeout_secs: 1, max_retries: 0, ..config(&server) };
    assert_eq!(fail_one(&endpoint(&config)).kind, CallFailureKind::Timeout);
}

#[test]
fn a_server_that_is_not_there_is_a_failed_connection() {
    let gone = {
        let server = Server::start(|_| says("4"));
        config(&server)
    };
    let endpoint = endpoint(&Config { prompt_price: 1.0, ..gone });
    assert_eq!(fail_one(&endpoint).kind, CallFailureKind::Connection);
    assert_eq!(endpoint.spent().unreported_usd, 0.0, "nothing was sent");
}

#[test]
fn a_wrong_key_or_model_stops_the_run() {
    let message = |status: u16, text: &'static str| {
        let server = Server::start(move |_| error(status, text));
        let error = stop_one(&endpoint(&config(&server)));
        let PortError::Failed { source, .. } = &error else { panic!("{error:?}") };
        assert!(!source.downcast_ref::<Error>().unwrap().is_users_input());
        assert_eq!(server.received().len(), 1);
        chain(&error).replace(&server.url(), "URL")
    };
    insta::assert_snapshot!(message(401, "Incorrect API key provided"), @"
    use the endpoint: call endpoint `policy` at URL/chat/completions: the server refuses the key (HTTP 401): Incorrect API key provided
    hint: check the key in the variable that `key-env` names, and what it may use
    ");
    insta::assert_snapshot!(message(404, "The model `x` does not exist."), @"
    use the endpoint: call endpoint `policy` at URL/chat/completions: not found (HTTP 404): The model `x` does not exist.
    hint: check `model`, and `base-urls`: most servers want them to end in /v1
    ");
    insta::assert_snapshot!(message(402, "Insufficient balance"), @"
    use the endpoint: call endpoint `policy` at URL/chat/completions: the account has no credit left (HTTP 402): Insufficient balance
    hint: pay the provider, or use another key; what was drawn so far is kept
    ");
    assert!(message(403, "no").contains("refuses the key"));
    assert!(message(307, "moved").contains("not found"));
}

#[test]
fn a_stopped_run_starts_no_more_calls_but_delivers_those_in_flight() {
    let server = Server::start(|received| match index_of(received.seed()) {
        0..3 => says("4"),
        _ => error(401, "key expired"),
    });
    let config = Config { concurrency: 1, ..config(&server) };
    let mut heard = Heard::default();
    let result = endpoint(&config).generate(&[request(0..50)], &Sampling::default(), &mut heard);
    assert!(matches!(result, Err(PortError::Failed { .. })));
    assert_eq!(heard.rollouts.len(), 3);
    assert_eq!(server.received().len(), 4);
}

/// The first call is told to come back in an hour. If it did not wait, it would come again while
/// the second takes its time to stop the run; if the stop did not wake it, this would take an hour.
#[test]
fn retry_after_is_honoured_and_a_stop_ends_the_wait() {
    let told = Arc::new(AtomicBool::new(false));
    let server = Server::start(move |received| {
        if index_of(received.seed()) == 0 {
            told.store(true, Ordering::SeqCst);
            return Act::Answer(429, "Retry-After: 3600\r\n", String::new());
        }
        while !told.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(200));
        error(401, "stop")
    });
    let config = Config { retry_base_millis: 0, retry_max_secs: 3600, ..config(&server) };
    let result =
        endpoint(&config).generate(&[request(0..2)], &Sampling::default(), &mut Heard::default());
    assert!(matches!(result, Err(PortError::Failed { .. })));
    assert_eq!(server.received().len(), 2);
}

#[test]
fn retry_after_is_capped() {
    let server = first(vec![|| Act::Answer(503, "Retry-After: 3600\r\n", String::new())]);
    let config = Config { retry_max_secs: 0, ..config(&server) };
    assert_eq!(draw_one(&endpoint(&config)).text, "4");
}

/// The failure of rollout `index` while `down`: 3 in 10, each in its own way.
fn mixed(index: u32, down: bool) -> Option<(Act, CallFailureKind)> {
    if !down {
        return None;
    }
    Some(match index {
        1 | 21 => (error(500, "oops"), CallFailureKind::ServerError),
        4 | 24 => (error(429, "slow down"), CallFailureKind::RateLimited),
        8 | 28 => (truncated(), CallFailureKind::Connection),
        11 | 31 => (closed(), CallFailureKind::Connection),
        14 | 34 => (garbled(), CallFailureKind::BadReply),
        18 | 38 => (error(400, "no"), CallFailureKind::Rejected),
        _ => return None,
    })
}

#[test]
fn of_forty_calls_twelve_fail_in_mixed_ways_and_a_second_round_asks_for_those_only() {
    let down = Arc::new(AtomicBool::new(true));
    let server = Server::start({
        let down = Arc::clone(&down);
        move |received| {
            let index = index_of(received.seed());
            let failure = mixed(index, down.load(Ordering::SeqCst));
            failure.map_or_else(|| says(&format!("answer {index}")), |(act, _)| act)
        }
    });
    let endpoint = endpoint(&Config { max_retries: 1, ..config(&server) });
    let mut heard = Heard::default();
    let sampling = Sampling::default();
    let drawn = endpoint.generate(&[request(0..40)], &sampling, &mut heard).unwrap().remove(0);

    let failures: BTreeMap<_, _> =
        heard.failures.iter().map(|(_, index, failure)| (*index, failure.kind)).collect();
    let wanted: BTreeMap<_, _> =
        (0..40).filter_map(|index| Some((index, mixed(index, true)?.1))).collect();
    assert_eq!(wanted.len(), 12);
    assert_eq!(failures, wanted);
    let had: Vec<_> = drawn.iter().map(|rollout| rollout.index).collect();
    assert_eq!(had, (0..40).filter(|index| !wanted.contains_key(index)).collect::<Vec<_>>());
    assert!(drawn.iter().all(|rollout| rollout.text == format!("answer {}", rollout.index)));
    assert_eq!(heard.rollouts.len(), 28);

    down.store(false, Ordering::SeqCst);
    let before = server.received().len();
    let missing: Vec<_> = wanted.keys().copied().collect();
    let drawn = endpoint
        .generate(&[request(missing.clone())], &sampling, &mut Heard::default())
        .unwrap()
        .remove(0);
    assert_eq!(drawn.iter().map(|rollout| rollout.index).collect::<Vec<_>>(), missing);
    let mut asked: Vec<_> =
        server.received()[before..].iter().map(|call| index_of(call.seed())).collect();
    asked.sort_unstable();
    assert_eq!(asked, missing);
}
