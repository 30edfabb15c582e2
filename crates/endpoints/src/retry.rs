//! Waits before a call is retried.

use std::time::{Duration, SystemTime};

use preceptor_core::Seed;

/// Steps of the jitter.
const JITTER_STEPS: u64 = 1 << 20;

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// The number of retries.
    pub max_retries: u32,
    /// The wait before the first retry, before jitter.
    pub base: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Retry {
    /// Returns the wait before retry number `retry`, from 0: `base` doubled for each earlier retry,
    /// times a number from [1/2, 1) drawn from the rollout's seed; at least the wait that the
    /// server asked for, at most the longest wait.
    pub(crate) fn wait(&self, retry: u32, seed: &Seed, asked: Option<Duration>) -> Duration {
        let doubled = self.base.saturating_mul(2_u32.saturating_pow(retry)).min(self.longest);
        let draw = seed.derive("retry").derive_index(retry.into()).draw_below(JITTER_STEPS);
        let jittered = doubled.mul_f64(0.5 + 0.5 * draw as f64 / JITTER_STEPS as f64);
        jittered.max(asked.unwrap_or_default()).min(self.longest)
    }
}

/// Reads a `Retry-After` header: seconds, or a date, which is compared with the server's own
/// `Date`, so that clocks need not agree. None if it can't be read.
pub(crate) fn retry_after(header: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let header = header?.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until: SystemTime = httpdate::parse_http_date(header).ok()?;
    let now = httpdate::parse_http_date(date?.trim()).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry =
        Retry { max_retries: 9, base: Duration::from_millis(100), longest: Duration::from_secs(2) };

    #[test]
    fn waits_double_with_jitter_up_to_the_longest() {
        for run in 0..50 {
            let seed = Seed::root(run);
            for (retry, millis) in [(0, 100), (1, 200), (2, 400), (4, 1600), (5, 2000), (99, 2000)]
            {
                let wait = RETRY.wait(retry, &seed, None);
                let most = Duration::from_millis(millis);
                assert!(wait >= most / 2 && wait <= most, "{retry} {wait:?}");
                assert_eq!(wait, RETRY.wait(retry, &seed, None));
            }
        }
        assert_ne!(RETRY.wait(0, &Seed::root(1), None), RETRY.wait(0, &Seed::root(2), None));
    }

    #[test]
    fn the_server_may_ask_for_more_but_not_without_end() {
        let wait = |seconds| RETRY.wait(0, &Seed::root(1), Some(Duration::from_secs(seconds)));
        assert_eq!(wait(1), Duration::from_secs(1));
        assert_eq!(wait(3600), Duration::from_secs(2));
        assert!(wait(0) >= Duration::from_millis(50));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        let seconds = |header, date| retry_after(header, date).map(|wait| wait.as_secs_f64());
        assert_eq!(seconds(Some(" 7 "), None), Some(7.0));
        assert_eq!(seconds(Some("0.25"), None), Some(0.25));
        assert_eq!(seconds(Some("Wed, 21 Oct 2015 07:28:30 GMT"), date), Some(30.0));
        assert_eq!(seconds(Some("Wed, 21 Oct 2015 07:27:00 GMT"), date), Some(0.0));
        for header in ["-1", "NaN", "1e400", "soon", "Wed, 21 Oct 2015 07:28:30 GMT"] {
            assert_eq!(seconds(Some(header), None), None, "{header}");
        }
        assert_eq!(seconds(None, date), None);
    }
}
