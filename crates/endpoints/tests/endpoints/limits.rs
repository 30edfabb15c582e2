//! Limits of calls and cost, and interruption.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use preceptor_core::{CallFailureKind, Generator, PortError, Sampling};
use preceptor_endpoints::Config;
use preceptor_testkit::server::{Server, error, says, truncated};

use crate::support::{Heard, chain, config, endpoint, fail_one, request};

/// The server answers in threes: fewer calls at once would never be answered.
#[test]
fn as_many_calls_run_at_once_as_are_allowed_and_no_more() {
    let three = Arc::new(Barrier::new(3));
    let server = Server::start(move |_| {
        three.wait();
        says("4")
    });
    let config = Config { concurrency: 3, ..config(&server) };
    let drawn = endpoint(&config)
        .generate(&[request(0..24)], &Sampling::default(), &mut Heard::default())
        .unwrap();
    assert_eq!(drawn[0].len(), 24);
    assert_eq!(server.most_at_once(), 3);
}

#[test]
fn an_observer_that_stops_ends_generation() {
    let server = Server::start(|_| says("4"));
    let config = Config { concurrency: 2, ..config(&server) };
    let mut heard = Heard { stop_after: Some(3), ..Heard::default() };
    let error = endpoint(&config)
        .generate(&[request(0..50)], &Sampling::default(), &mut heard)
        .unwrap_err();
    assert!(matches!(error, PortError::Stopped(_)));
    assert!(chain(&error).ends_with("the disk is full"));
    assert_eq!(heard.rollouts.len(), 3, "nothing is told after the stop");
    // Those that were told, and at most two in flight for each thread.
    assert!(server.received().len() <= 7);
}

#[test]
fn a_spent_budget_is_a_failure_that_is_not_sent() {
    let server = Server::start(|_| says("4"));
    // A call may cost 0.512 for its 512 tokens, and does cost 0.005 for 5.
    let config =
        Config { generated_price: 1000.0, budget: Some(0.52), concurrency: 4, ..config(&server) };
    let endpoint = endpoint(&config);
    let mut heard = Heard::default();
    let drawn =
        endpoint.generate(&[request(0..10)], &Sampling::default(), &mut heard).unwrap().remove(0);
    // After two calls 0.01 is spent, and 0.512 more would be too much.
    assert_eq!(drawn.len(), 2);
    assert_eq!(server.received().len(), 2);
    assert_eq!(server.most_at_once(), 1, "what calls in flight may cost is set aside");
    assert_eq!(heard.failures.len(), 8);
    assert!(heard.failures.iter().all(|failure| failure.2.kind == CallFailureKind::BudgetSpent));
    let spent = endpoint.spent();
    assert!((spent.cost_usd - 0.01).abs() < 1e-12, "{spent:?}");
    assert_eq!(spent.usage.num_generated_tokens, 10);
    assert_eq!(spent.unreported_usd, 0.0);
}

#[test]
fn a_lost_answer_counts_against_the_budget() {
    let server = Server::start(|_| truncated());
    let config =
        Config { generated_price: 1000.0, budget: Some(1.2), max_retries: 5, ..config(&server) };
    let endpoint = endpoint(&config);
    let failure = fail_one(&endpoint);
    assert_eq!(failure.kind, CallFailureKind::BudgetSpent);
    assert_eq!(server.received().len(), 2);
    assert!((endpoint.spent().unreported_usd - 1.024).abs() < 1e-12);
}

/// The second call has to wait for a minute, and the first stops the run before that.
#[test]
fn a_call_over_the_rate_limit_waits_and_a_stop_ends_the_wait() {
    let server = Server::start(|_| {
        thread::sleep(Duration::from_millis(200));
        error(401, "stop")
    });
    for limited in [
        Config { requests_per_minute: Some(1), ..config(&server) },
        Config { tokens_per_minute: Some(512), ..config(&server) },
    ] {
        let before = server.received().len();
        let result = endpoint(&limited).generate(
            &[request(0..2)],
            &Sampling::default(),
            &mut Heard::default(),
        );
        assert!(matches!(result, Err(PortError::Failed { .. })));
        assert_eq!(server.received().len(), before + 1);
    }
}
