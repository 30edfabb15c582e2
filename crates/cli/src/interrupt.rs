//! Signals that ask a run to stop.
//!
//! The first one stops a run after the next record or training step, with a checkpoint; the second ends
//! the program at once. A killed program loses no more than what it is working on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{process, thread};

use preceptor_experiment::StopRequest;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

static IS_ASKED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Listens to interrupts (Ctrl-C), `TERM` and `USR1` from now on.
pub(crate) fn stop_request() -> StopRequest {
    static LISTENS: OnceLock<()> = OnceLock::new();
    LISTENS.get_or_init(|| {
        // Where signals can't be handled they end the program.
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGUSR1]) {
            thread::spawn(move || signals.forever().for_each(receive));
        }
    });
    StopRequest::new(&IS_ASKED)
}

fn receive(signal: i32) {
    if IS_ASKED.load(Ordering::SeqCst) {
        // A scheduler may send the same signal to a script and to the program.
        if signal == SIGINT {
            process::exit(128 + signal);
        }
        return;
    }
    SIGNAL.store(signal, Ordering::SeqCst);
    IS_ASKED.store(true, Ordering::SeqCst);
    eprintln!("stopping after the next record or training step; Ctrl-C ends the program at once");
}

/// Returns the exit code of a run that was stopped: 0 after `USR1`, by which a scheduler asks a task to
/// make room, otherwise 128 and the signal, as shells do.
pub(crate) fn exit_code() -> u8 {
    match SIGNAL.load(Ordering::SeqCst) {
        SIGUSR1 => 0,
        signal => u8::try_from(128 + signal).unwrap_or(1),
    }
}
