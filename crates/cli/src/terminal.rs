//! Progress: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use preceptor_core::Usage;
use preceptor_experiment::{CellCounts, Progress, Unit};
use preceptor_files::FetchProgress;

use crate::run_state::{RunDemand, RunState};
use crate::watch::Watch;

/// Seconds between two progress lines.
const LINE_EVERY_SECS: u64 = 20;

/// Shows a run's progress on standard error.
pub(crate) struct Terminal {
    bars: MultiProgress,
    bar: Option<ProgressBar>,
    is_terminal: bool,
    stage: Stage,
    watch: Option<Watch>,
}

/// Progress bar of a download, on a terminal.
#[derive(Default)]
pub(crate) struct FetchBar {
    bar: Option<(String, ProgressBar)>,
}

impl FetchBar {
    pub(crate) fn show(&mut self, at: FetchProgress<'_>) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        if self.bar.as_ref().is_none_or(|(file, _)| file != at.file) {
            self.clear();
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            );
            let bar = ProgressBar::new(at.num_wanted.unwrap_or(0))
                .with_style(style.expect("the template is fixed"))
                .with_prefix(at.file.to_owned());
            self.bar = Some((at.file.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(at.num_bytes);
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Stage that is being filled.
struct Stage {
    label: String,
    unit: Unit,
    num_at_start: u64,
    num_done: u64,
    num_wanted: u64,
    usage: Usage,
    started: Instant,
    last_line: Instant,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            bar: None,
            is_terminal: std::io::stderr().is_terminal(),
            stage: Stage::new("", Unit::Rollouts, 0, 0),
            watch: None,
        }
    }

    /// Also shows the state of the whole run: below the bars on a terminal, else as a line every so often.
    pub(crate) fn watched(self, demand: RunDemand, every: Duration) -> Self {
        let bars = self.is_terminal.then_some(&self.bars);
        Self { watch: Some(Watch::start(demand, bars, every)), ..self }
    }

    fn line(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }

    /// Replaces the bar.
    fn show(&mut self, bar: ProgressBar) {
        self.clear();
        let bar = match self.watch.as_ref().and_then(Watch::bar) {
            Some(below) => self.bars.insert_before(below, bar),
            None => self.bars.add(bar),
        };
        self.bar = Some(bar);
    }

    fn clear(&mut self) {
        if let Some(old) = self.bar.take() {
            old.finish_and_clear();
            self.bars.remove(&old);
        }
    }

    fn watch(&self, note: impl FnOnce(&mut RunState)) {
        if let Some(watch) = &self.watch {
            watch.note(note);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "progress shows elapsed time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Stage {
    fn new(label: &str, unit: Unit, num_present: u64, num_wanted: u64) -> Self {
        let now = now();
        Self {
            label: label.to_owned(),
            unit,
            num_at_start: num_present,
            num_done: num_present,
            num_wanted,
            usage: Usage::default(),
            started: now,
            last_line: now,
        }
    }

    /// Returns the number of tokens: read for texts, written for everything else.
    fn num_tokens(&self) -> u64 {
        match self.unit {
            Unit::Texts => self.usage.num_prompt_tokens,
            Unit::Rollouts | Unit::Replies => self.usage.num_generated_tokens,
        }
    }

    fn speed(&self, elapsed: Duration) -> f64 {
        let secs = elapsed.as_secs_f64();
        if secs > 0.0 { self.num_tokens() as f64 / secs } else { 0.0 }
    }

    fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.num_done - self.num_at_start;
        let left = self.num_wanted - self.num_done;
        (done > 0).then(|| elapsed.mul_f64(left as f64 / done as f64))
    }

    /// Describes the stage before it is filled.
    fn at_start(&self) -> String {
        let Self { label, num_at_start, num_wanted, .. } = self;
        let unit = self.unit.name();
        if num_at_start == num_wanted {
            format!("{label}: all {num_wanted} {unit} are in the store")
        } else {
            format!("{label}: {num_at_start} of {num_wanted} {unit} are in the store")
        }
    }

    fn summary(&self, elapsed: Duration) -> String {
        let left = self.time_left(elapsed);
        let left = left.map_or_else(String::new, |left| format!(", {} left", time(left)));
        format!("{:.0} tokens/s{left}", self.speed(elapsed))
    }

    fn while_filling(&self, elapsed: Duration) -> String {
        let Self { label, num_done, num_wanted, .. } = self;
        format!("{label}: {num_done}/{num_wanted} {}, {}", self.unit.name(), self.summary(elapsed))
    }

    /// Describes the stage at the end, when some calls may have failed.
    fn at_end(&self, elapsed: Duration) -> String {
        let Self { label, num_done, num_wanted, .. } = self;
        let unit = self.unit.name();
        let count = if num_done == num_wanted {
            format!("{num_wanted} {unit}")
        } else {
            format!("{num_done} of {num_wanted} {unit}")
        };
        let (tokens, speed) = (self.num_tokens(), self.speed(elapsed));
        format!(
            "{label}: {count} done in {} ({tokens} tokens, {speed:.0} per second)",
            time(elapsed)
        )
    }
}

/// Formats a duration: `45 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn time(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {:02} s", secs / 60, secs % 60),
        _ => format!("{} h {:02} min", secs / 3600, secs % 3600 / 60),
    }
}

impl Progress for Terminal {
    fn stage_started(&mut self, label: &str, unit: Unit, num_present: u64, num_wanted: u64) {
        self.stage = Stage::new(label, unit, num_present, num_wanted);
        self.watch(|run| run.start_stage(unit, num_wanted - num_present));
        if num_present < num_wanted && self.is_terminal {
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")
                .expect("the template is fixed");
            let bar = ProgressBar::new(num_wanted).with_style(style).with_prefix(label.to_owned());
            bar.set_position(num_present);
            self.show(bar);
        } else {
            self.clear();
            self.line(&self.stage.at_start());
        }
    }

    fn record_added(&mut self) {
        self.stage.num_done += 1;
        self.watch(RunState::add_record);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn record_failed(&mut self) {
        self.watch(|run| run.num_failed += 1);
    }

    fn cells_changed(&mut self, cells: CellCounts) {
        self.watch(|run| run.cells = cells);
    }

    fn spent(&mut self, usage: Usage, cost_usd: f64) {
        self.watch(|run| run.spend(usage, cost_usd));
    }

    fn tokens(&mut self, usage: Usage) {
        self.stage.usage += usage;
        let elapsed = self.stage.started.elapsed();
        let is_due = self.stage.last_line.elapsed().as_secs() >= LINE_EVERY_SECS;
        match &self.bar {
            Some(bar) => bar.set_message(self.stage.summary(elapsed)),
            None if is_due && self.watch.is_none() => {
                self.stage.last_line = now();
                self.line(&self.stage.while_filling(elapsed));
            }
            None => {}
        }
    }

    fn step_ended(&mut self, label: &str, step: u64, num_steps: u64, text: &str) {
        self.watch(RunState::end_step);
        if !self.is_terminal {
            self.line(&format!("{label}: step {step}/{num_steps} · {text}"));
            return;
        }
        let is_known = self.bar.as_ref().is_some_and(|bar| bar.prefix() == label);
        if !is_known {
            let style = ProgressStyle::with_template("{prefix} {bar:20} {pos}/{len} {wide_msg}")
                .expect("the template is fixed");
            let bar = ProgressBar::new(num_steps).with_style(style).with_prefix(label.to_owned());
            self.show(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(text.to_owned());
        }
        if step == num_steps {
            self.clear();
            self.line(&format!("{label}: {num_steps} training steps done; the last: {text}"));
        }
    }

    fn stage_finished(&mut self) {
        let has_new = self.stage.num_done > self.stage.num_at_start;
        self.watch(RunState::end_stage);
        self.clear();
        if has_new {
            self.line(&self.stage.at_end(self.stage.started.elapsed()));
        }
    }

    fn notice(&mut self, text: &str) {
        self.line(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(unit: Unit, num_done: u64) -> String {
        let mut stage = Stage::new("label", unit, 2, 10);
        let at_start = stage.at_start();
        stage.num_done = num_done;
        stage.usage = Usage { num_prompt_tokens: 400, num_generated_tokens: 100 };
        let elapsed = Duration::from_secs(20);
        format!("{at_start}\n{}\n{}", stage.while_filling(elapsed), stage.at_end(elapsed))
    }

    #[test]
    fn lines_name_what_is_counted() {
        insta::assert_snapshot!(lines(Unit::Rollouts, 10), @"
        label: 2 of 10 rollouts are in the store
        label: 10/10 rollouts, 5 tokens/s, 0 s left
        label: 10 rollouts done in 20 s (100 tokens, 5 per second)
        ");
        insta::assert_snapshot!(lines(Unit::Replies, 6), @"
        label: 2 of 10 replies are in the store
        label: 6/10 replies, 5 tokens/s, 20 s left
        label: 6 of 10 replies done in 20 s (100 tokens, 5 per second)
        ");
        insta::assert_snapshot!(lines(Unit::Texts, 10), @"
        label: 2 of 10 texts are in the store
        label: 10/10 texts, 20 tokens/s, 0 s left
        label: 10 texts done in 20 s (400 tokens, 20 per second)
        ");
        insta::assert_snapshot!(Stage::new("label", Unit::Replies, 3, 3).at_start(), @"label: all 3 replies are in the store");
    }
}
