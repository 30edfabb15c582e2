//! Limits on calls and tokens per minute, shared by all threads.
//!
//! A token bucket as deep as one call, kept as the time at which it is full again. Under a limit of
//! L per minute, a call of weight w is sent once the calls before it have been paid off, and takes
//! 60 w / L seconds to pay off itself. So at most L and one call begin in any minute, evenly
//! spread. The part of a booking that a call did not need is returned.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const MINUTE: f64 = 60.0;

/// A rate limit.
#[derive(Debug)]
struct Pace {
    seconds_each: f64,
    /// The time at which all calls so far are paid off, in seconds.
    free_at: f64,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        Self { seconds_each: MINUTE / f64::from(per_minute), free_at: 0.0 }
    }

    /// Books `weight` and returns the time at which it may begin.
    fn book(&mut self, now: f64, weight: u64) -> f64 {
        let begin = self.free_at.max(now);
        self.free_at = begin + self.seconds_each * weight as f64;
        begin
    }

    fn give_back(&mut self, weight: i64) {
        self.free_at -= self.seconds_each * weight as f64;
    }
}

#[derive(Debug)]
struct Paces {
    requests: Option<Pace>,
    tokens: Option<Pace>,
}

/// The limits of an endpoint.
#[derive(Debug)]
pub(crate) struct Pacing {
    paces: Mutex<Paces>,
}

impl Pacing {
    pub(crate) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        let requests = requests_per_minute.map(Pace::new);
        let tokens = tokens_per_minute.map(Pace::new);
        Self { paces: Mutex::new(Paces { requests, tokens }) }
    }

    /// Books a call of about `tokens` tokens at the time `now`, and returns the wait before it may
    /// be sent.
    pub(crate) fn book(&self, now: Duration, tokens: u64) -> Duration {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.as_secs_f64();
        let mut begin = now;
        if let Some(pace) = &mut paces.requests {
            begin = begin.max(pace.book(now, 1));
        }
        if let Some(pace) = &mut paces.tokens {
            begin = begin.max(pace.book(now, tokens));
        }
        Duration::from_secs_f64(begin - now)
    }

    /// Corrects a booking of `booked` tokens that took `needed`.
    pub(crate) fn correct(&self, booked: u64, needed: u64) {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = &mut paces.tokens {
            let unused = i128::from(booked) - i128::from(needed);
            pace.give_back(i64::try_from(unused).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_are_spread_over_the_minute() {
        let pacing = Pacing::new(Some(60), None);
        let waits: Vec<_> = (0..4).map(|_| pacing.book(Duration::ZERO, 1000)).collect();
        assert_eq!(waits, [Duration::ZERO, SECOND, 2 * SECOND, 3 * SECOND]);
        // Ten seconds later everything is paid off; the time between is not saved up.
        assert_eq!(pacing.book(10 * SECOND, 1), Duration::ZERO);
        assert_eq!(pacing.book(10 * SECOND, 1), SECOND);
    }

    #[test]
    fn no_minute_holds_more_than_the_limit_and_one() {
        let pacing = Pacing::new(Some(30), None);
        let mut begins = Vec::new();
        for at in [0, 0, 1, 2, 3, 5, 8, 13, 21, 34, 55] {
            for _ in 0..10 {
                let now = at * SECOND;
                begins.push(now + pacing.book(now, 0));
            }
        }
        for begin in &begins {
            let minute = *begin..*begin + 60 * SECOND;
            assert!(begins.iter().filter(|time| minute.contains(time)).count() <= 31);
        }
    }

    #[test]
    fn tokens_that_were_not_needed_are_given_back() {
        let pacing = Pacing::new(None, Some(6000));
        assert_eq!(pacing.book(Duration::ZERO, 1000), Duration::ZERO);
        assert_eq!(pacing.book(Duration::ZERO, 1000), 10 * SECOND);
        pacing.correct(1000, 100);
        assert_eq!(pacing.book(Duration::ZERO, 1000), 11 * SECOND);
        pacing.correct(1000, 1500);
        assert_eq!(pacing.book(Duration::ZERO, 1000), 26 * SECOND);
    }

    #[test]
    fn the_stricter_limit_counts_and_none_means_no_wait() {
        let pacing = Pacing::new(Some(60), Some(60));
        assert_eq!(pacing.book(Duration::ZERO, 5), Duration::ZERO);
        assert_eq!(pacing.book(Duration::ZERO, 5), 5 * SECOND);
        let free = Pacing::new(None, None);
        assert!((0..100).all(|_| free.book(Duration::ZERO, 1 << 40).is_zero()));
    }
}
