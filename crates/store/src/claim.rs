//! Claims on stages: processes that fill one store don't repeat each other's work.
//!
//! A claim is a lease with a heartbeat (`lease.rs`). It ends in three ways:
//!
//! - Its owner drops it.
//! - Its owner ends, killed or not. On the same machine the lock on the lease is free then, and the next
//!   process takes the lease at once.
//! - Its file does not change for [`LeaseSettings::expires_after`], by the clock of the process that
//!   waits; clocks of two hosts are never compared. This is what frees the claims of a dead host, and
//!   those on file systems without locks.
//!
//! A process that was suspended, or cut off from the file system, may lose a lease without knowing. It
//! asks [`Claim::check`] before it writes, and stops there. What a check can't prevent is a suspension
//! between the check and the write that follows: that write is then made after the lease was lost. It
//! adds one record of the stage under the record's own key, so nothing is overwritten, and where sampling
//! is deterministic it is the record that the new owner makes.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use preceptor_core::Digest;

use crate::lease::{
    Lease, LeaseReading, LeaseSettings, current_lease, is_gone, lease_numbers, lease_path,
    take_lease,
};
use crate::{Error, Stage};

/// A claim on a stage for this process, until it is dropped, lost, or the process ends.
#[derive(Debug)]
pub struct Claim {
    /// None in a store that can't be written, where there is nothing to protect.
    held: Option<HeldLease>,
}

#[derive(Debug)]
struct HeldLease {
    state: Arc<LeaseState>,
    /// Ends the heartbeat when it is dropped.
    stop: Option<Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct LeaseState {
    stage: Digest,
    folder: PathBuf,
    number: u64,
    settings: LeaseSettings,
    file: File,
    lease: Mutex<Lease>,
    is_lost: AtomicBool,
    /// Time at which the lease was last found to be this process's.
    confirmed: Mutex<Instant>,
}

impl LeaseState {
    /// Looks into the folder whether another process has taken over.
    fn confirm(&self) -> bool {
        if self.is_lost.load(Ordering::SeqCst) {
            return false;
        }
        // Before the look: a suspension after it must not make it seem recent.
        let started = now();
        let path = lease_path(&self.folder, self.number);
        let is_removed = File::open(&path).is_err_and(|error| is_gone(&error));
        let numbers = lease_numbers(&self.folder);
        let has_successor = numbers.is_ok_and(|known| known.iter().any(|n| *n > self.number));
        if is_removed || has_successor {
            self.is_lost.store(true, Ordering::SeqCst);
            return false;
        }
        *lock(&self.confirmed) = started;
        true
    }

    fn beat(&self) {
        if self.confirm() {
            let mut lease = lock(&self.lease);
            lease.beat += 1;
            // A full disk or a file server that is away: the lease may expire, which `confirm` finds.
            let _ = lease.write(&self.file);
        }
    }

    fn lost(&self) -> Error {
        let current = current_lease(&self.folder, false).ok().flatten();
        Error::ClaimLost {
            stage: self.stage.clone(),
            owner: current.map_or_else(|| "another process".to_owned(), |lease| lease.owner()),
            secs: self.settings.expires_after.as_secs_f64(),
        }
    }
}

impl Claim {
    /// Checks that no other process has taken the claim over. Looks into the store if that was not done
    /// for two heartbeats, so that it may be called before every record.
    ///
    /// # Errors
    ///
    /// [`Error::ClaimLost`] with the process that has it.
    pub fn check(&self) -> Result<(), Error> {
        let Some(HeldLease { state, .. }) = &self.held else { return Ok(()) };
        let is_fresh = lock(&state.confirmed).elapsed() < 2 * state.settings.interval();
        if is_fresh && !state.is_lost.load(Ordering::SeqCst) { Ok(()) } else { self.confirm() }
    }

    /// Checks in the store that no other process has taken the claim over.
    ///
    /// # Errors
    ///
    /// [`Error::ClaimLost`] with the process that has it.
    pub fn confirm(&self) -> Result<(), Error> {
        match &self.held {
            Some(HeldLease { state, .. }) if !state.confirm() => Err(state.lost()),
            _ => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(HeldLease { state, stop, heartbeat }) = &mut self.held else { return };
        drop(stop.take());
        if let Some(heartbeat) = heartbeat.take() {
            let _ = heartbeat.join();
        }
        if state.confirm() {
            let mut lease = lock(&state.lease);
            lease.is_released = true;
            let _ = lease.write(&state.file);
        }
    }
}

impl Stage {
    /// Claims the stage for this process. Returns none if another process has it, or with `wait`,
    /// blocks until that process is done or has shown no heartbeat for too long.
    ///
    /// Records that were missing before may exist afterwards. A process that holds claims may wait for
    /// another only if every process takes the two in that order.
    pub fn claim(&self, wait: bool) -> Option<Claim> {
        self.claim_while(&|| wait)
    }

    /// Claims the stage as [`Stage::claim`] does, and waits for another process while `waits` is true.
    pub fn claim_while(&self, waits: &dyn Fn() -> bool) -> Option<Claim> {
        let settings = self.store.leases();
        let folder = self.lease_folder();
        let poll = settings.interval().clamp(Duration::from_millis(20), Duration::from_secs(2));
        let mut watched: Option<(LeaseReading, Instant)> = None;
        loop {
            let Ok(reading) = current_lease(&folder, settings.uses_locks) else {
                return Some(Claim { held: None });
            };
            let number = reading.as_ref().map_or(0, |reading| reading.number);
            let is_free = reading.is_none_or(|reading| {
                let is_free = reading.is_free;
                let since = match &watched {
                    Some((known, since))
                        if (known.number, &known.bytes) == (number, &reading.bytes) =>
                    {
                        *since
                    }
                    _ => now(),
                };
                let has_expired = since.elapsed() >= reading.expires_after(settings);
                watched = Some((reading, since));
                is_free || has_expired
            });
            if is_free {
                match take_lease(&folder, number + 1, settings) {
                    Ok(Some((file, lease))) => {
                        return Some(self.hold(folder, number + 1, file, lease));
                    }
                    Ok(None) => continue,
                    // The store can't be written; whoever tries learns why.
                    Err(_) => return Some(Claim { held: None }),
                }
            }
            if !waits() {
                return None;
            }
            thread::sleep(poll);
        }
    }

    /// Starts the heartbeat of a lease.
    fn hold(&self, folder: PathBuf, number: u64, file: File, lease: Lease) -> Claim {
        let settings = self.store.leases();
        let state = Arc::new(LeaseState {
            stage: self.digest().clone(),
            folder,
            number,
            settings,
            file,
            lease: Mutex::new(lease),
            is_lost: AtomicBool::new(false),
            confirmed: Mutex::new(now()),
        });
        let (stop, stopped) = mpsc::channel::<()>();
        let beating = Arc::clone(&state);
        let heartbeat = thread::spawn(move || {
            while stopped.recv_timeout(settings.interval()) == Err(RecvTimeoutError::Timeout) {
                beating.beat();
            }
        });
        Claim { held: Some(HeldLease { state, stop: Some(stop), heartbeat: Some(heartbeat) }) }
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a lease expires by the clock; no record does")]
    Instant::now()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
