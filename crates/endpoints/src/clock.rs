//! The only place that reads a clock: rate limits need elapsed time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call of this function.
#[expect(
    clippy::disallowed_methods,
    reason = "rate limits measure time; no result depends on it, only when a call is sent"
)]
pub(crate) fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
