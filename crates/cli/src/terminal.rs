//! Progress: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use preceptor_core::Usage;
use preceptor_experiment::Progress;

/// Seconds between two plain lines.
const LINE_EVERY_SECS: u64 = 20;

/// Shows a run's progress on standard error.
pub(crate) struct Terminal {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    stage: Stage,
}

/// The stage that is being filled.
struct Stage {
    label: String,
    num_at_start: u64,
    num_done: u64,
    num_wanted: u64,
    usage: Usage,
    started: Instant,
    last_line: Instant,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let now = now();
        Self {
            bar: None,
            is_terminal: std::io::stderr().is_terminal(),
            stage: Stage {
                label: String::new(),
                num_at_start: 0,
                num_done: 0,
                num_wanted: 0,
                usage: Usage::default(),
                started: now,
                last_line: now,
            },
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "progress shows how long things take")]
fn now() -> Instant {
    Instant::now()
}

impl Stage {
    fn speed(&self) -> f64 {
        let secs = self.started.elapsed().as_secs_f64();
        if secs > 0.0 { self.usage.num_generated_tokens as f64 / secs } else { 0.0 }
    }

    fn time_left(&self) -> Option<Duration> {
        let done = self.num_done - self.num_at_start;
        let left = self.num_wanted - self.num_done;
        (done > 0).then(|| {
            let secs = self.started.elapsed().as_secs_f64() / done as f64 * left as f64;
            Duration::from_secs_f64(secs)
        })
    }

    fn summary(&self) -> String {
        let left =
            self.time_left().map_or_else(String::new, |left| format!(", {} left", time(left)));
        format!("{:.0} tokens/s{left}", self.speed())
    }
}

/// A duration for people: `45 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn time(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {:02} s", secs / 60, secs % 60),
        _ => format!("{} h {:02} min", secs / 3600, secs % 3600 / 60),
    }
}

impl Progress for Terminal {
    fn stage_started(&mut self, label: &str, num_present: u64, num_wanted: u64) {
        let now = now();
        self.stage = Stage {
            label: label.to_owned(),
            num_at_start: num_present,
            num_done: num_present,
            num_wanted,
            usage: Usage::default(),
            started: now,
            last_line: now,
        };
        if num_present == num_wanted {
            self.line(&format!("{label}: all {num_wanted} rollouts are in the store"));
        } else if self.is_terminal {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
                .expect("the template is fixed");
            let bar = ProgressBar::new(num_wanted).with_style(style).with_prefix(label.to_owned());
            bar.set_position(num_present);
            self.bar = Some(bar);
        } else {
            self.line(&format!("{label}: {num_present} of {num_wanted} rollouts are in the store"));
        }
    }

    fn record_added(&mut self) {
        self.stage.num_done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn tokens(&mut self, usage: Usage) {
        self.stage.usage += usage;
        match &self.bar {
            Some(bar) => bar.set_message(self.stage.summary()),
            None if self.stage.last_line.elapsed().as_secs() >= LINE_EVERY_SECS => {
                self.stage.last_line = now();
                let Stage { label, num_done, num_wanted, .. } = &self.stage;
                let summary = self.stage.summary();
                self.line(&format!("{label}: {num_done}/{num_wanted} rollouts, {summary}"));
            }
            None => {}
        }
    }

    fn stage_finished(&mut self) {
        let drew = self.stage.num_done > self.stage.num_at_start;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if drew {
            let Stage { label, num_wanted, usage, .. } = &self.stage;
            let took = time(self.stage.started.elapsed());
            let tokens = usage.num_generated_tokens;
            let speed = self.stage.speed();
            self.line(&format!(
                "{label}: {num_wanted} rollouts done in {took} ({tokens} tokens, {speed:.0} a second)"
            ));
        }
    }

    fn notice(&mut self, text: &str) {
        self.line(text);
    }
}
