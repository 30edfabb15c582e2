//! Ctrl-C as a request to end, for commands that wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Length of a nap between two looks at the request.
const NAP: Duration = Duration::from_millis(50);

/// A request to end. The second one ends the process.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes Ctrl-C and the signal to terminate as requests from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let is_requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&is_requested))?;
            flag::register(signal, Arc::clone(&is_requested))?;
        }
        Ok(Self(is_requested))
    }

    /// Waits for `time` or until there is a request. Returns whether there is one.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut waited = Duration::ZERO;
        while waited < time && !self.0.load(Ordering::SeqCst) {
            thread::sleep(NAP.min(time - waited));
            waited += NAP;
        }
        self.0.load(Ordering::SeqCst)
    }
}
