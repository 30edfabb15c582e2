//! Signals that ask the program to stop.
//!
//! The first one stops a run after the next record or training step, with a checkpoint, and a watch after a
//! last report; a second Ctrl-C ends the program at once. A killed program loses no more than what it is
//! working on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use std::{process, thread};

use preceptor_experiment::StopRequest;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

static IS_ASKED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Length of a nap between two looks at the request.
const NAP: Duration = Duration::from_millis(50);

/// Listens to interrupts (Ctrl-C), `TERM` and `USR1` from now on.
pub(crate) fn listen() {
    static LISTENS: OnceLock<()> = OnceLock::new();
    LISTENS.get_or_init(|| {
        // Where signals can't be handled they end the program.
        if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGUSR1]) {
            thread::spawn(move || signals.forever().for_each(receive));
        }
    });
}

/// Listens, and returns the request of a run to stop.
pub(crate) fn stop_request() -> StopRequest {
    listen();
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
    eprintln!(
        "stopping at the next record, training step or report; Ctrl-C ends the program at once"
    );
}

/// Waits for `time` or until a signal asks to stop. Returns whether one did.
pub(crate) fn wait(time: Duration) -> bool {
    let mut waited = Duration::ZERO;
    while waited < time && !IS_ASKED.load(Ordering::SeqCst) {
        thread::sleep(NAP.min(time - waited));
        waited += NAP;
    }
    IS_ASKED.load(Ordering::SeqCst)
}

/// Returns the exit code of a run that was stopped: 0 after `USR1`, by which a scheduler asks a task to
/// make room, otherwise 128 and the signal, as shells do.
pub(crate) fn exit_code() -> u8 {
    match SIGNAL.load(Ordering::SeqCst) {
        SIGUSR1 => 0,
        signal => u8::try_from(128 + signal).unwrap_or(1),
    }
}
