//! A signal to all threads to begin no more calls.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Unset at first, then set for good. Threads that sleep on it wake when it is set.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Halt {
    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `time`, or until the signal is set. Returns whether to continue.
    pub(crate) fn sleep(&self, time: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if time.is_zero() {
            return !*set;
        }
        let waited = self.changed.wait_timeout_while(set, time, |set| !*set);
        let (set, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_when_it_is_set() {
        let halt = Halt::default();
        assert!(halt.sleep(Duration::ZERO));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| halt.sleep(Duration::from_secs(3600)));
            halt.set();
            assert!(!sleeper.join().unwrap());
        });
        assert!(halt.is_set());
        assert!(!halt.sleep(Duration::ZERO));
    }
}
