//! `run --watch`: the state of the run, shown steadily by a thread of its own.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::run_state::{RunDemand, RunState};
use crate::terminal::now;

/// Time between two updates on a terminal.
const TICK: Duration = Duration::from_secs(1);

/// Display of a run's state, which ends when it is dropped.
pub(crate) struct Watch {
    state: Arc<Mutex<RunState>>,
    bar: Option<ProgressBar>,
    /// The thread ends when this is dropped.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn lock(state: &Mutex<RunState>) -> MutexGuard<'_, RunState> {
    // A panic elsewhere leaves counts that can still be shown.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Shows the state as the last of `bars`, else as a line on standard error every so often.
    pub(crate) fn start(demand: RunDemand, bars: Option<&MultiProgress>, every: Duration) -> Self {
        let state = Arc::new(Mutex::new(RunState::new(demand)));
        let bar = bars.map(|bars| {
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is fixed");
            bars.add(ProgressBar::new_spinner().with_style(style))
        });
        let (end, ended) = mpsc::channel::<()>();
        let thread = {
            let (state, bar) = (Arc::clone(&state), bar.clone());
            thread::spawn(move || {
                let tick = if bar.is_some() { TICK } else { every };
                while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                    let text = lock(&state).text(now());
                    match &bar {
                        Some(bar) => bar.set_message(text),
                        None => eprintln!("{text}"),
                    }
                }
            })
        };
        Self { state, bar, end: Some(end), thread: Some(thread) }
    }

    /// Returns the bar, which stays below all others.
    pub(crate) fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// Changes the state.
    pub(crate) fn note(&self, note: impl FnOnce(&mut RunState)) {
        note(&mut lock(&self.state));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only prints; a panic there changes nothing.
            let _ = thread.join();
        }
        let text = lock(&self.state).text(now());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{text}");
    }
}
