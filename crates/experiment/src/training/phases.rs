//! Wall-clock time of a step: seconds by phase, and the timeline of who worked when.

use std::collections::BTreeMap;
use std::time::Instant;

use preceptor_core::record::TimelineRecord;

/// Spans of the same phase that are less than this apart are one, in seconds.
const GAP: f64 = 0.001;
/// The trainer in a timeline.
const TRAINER: &str = "trainer";

/// Wall-clock time of the phases of a step.
#[derive(Debug)]
pub(crate) struct Phases {
    started: Instant,
    seconds: BTreeMap<String, f64>,
    timeline: Vec<TimelineRecord>,
}

impl Phases {
    /// Starts a step.
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "wall time is recorded as a cost only")]
        let started = Instant::now();
        Self { started, seconds: BTreeMap::new(), timeline: Vec::new() }
    }

    /// Does work of the trainer. Waiting for servers is a phase too, but no work in the timeline.
    pub(crate) fn time<T>(&mut self, phase: &str, work: impl FnOnce() -> T) -> T {
        let from = self.now();
        let done = work();
        self.end(phase, from);
        self.add(TRAINER, phase, from, self.now());
        done
    }

    /// Waits for others.
    pub(crate) fn wait<T>(&mut self, phase: &str, wait: impl FnOnce() -> T) -> T {
        let from = self.now();
        let done = wait();
        self.end(phase, from);
        done
    }

    fn end(&mut self, phase: &str, from: f64) {
        *self.seconds.entry(phase.to_owned()).or_default() += self.now() - from;
    }

    /// Returns the seconds since the start of the step.
    pub(crate) fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Adds work of `actor` to the timeline, in seconds since the start; none below a millisecond.
    pub(crate) fn add(&mut self, actor: &str, phase: &str, from: f64, to: f64) {
        let millis = |secs: f64| (secs * 1000.0).round() / 1000.0;
        let (from, to) = (millis(from), millis(to));
        if from == to {
            return;
        }
        let mut of_actor = self.timeline.iter_mut().rev().filter(|span| span.actor == actor);
        match of_actor.next() {
            Some(last) if last.phase == phase && from - last.to <= GAP => last.to = to,
            _ => self.timeline.push(TimelineRecord {
                actor: actor.to_owned(),
                phase: phase.to_owned(),
                from,
                to,
            }),
        }
    }

    /// Returns the seconds by phase, which add up to the time of the step, and the timeline.
    pub(crate) fn into_records(self) -> (BTreeMap<String, f64>, Vec<TimelineRecord>) {
        (self.seconds, self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_one_phase_without_a_gap_is_one_span() {
        let mut phases = Phases::start();
        for (actor, phase, from, to) in [
            (TRAINER, "reward", 0.0, 1.0),
            ("server", "rollouts", 0.0, 5.0),
            (TRAINER, "reward", 1.0005, 2.0),
            (TRAINER, "reward", 3.0, 4.0),
            (TRAINER, "update", 4.0, 6.0),
            (TRAINER, "record", 6.0, 6.0001),
        ] {
            phases.add(actor, phase, from, to);
        }
        let (_, timeline) = phases.into_records();
        let spans: Vec<_> =
            timeline.iter().map(|span| (span.actor.as_str(), span.from, span.to)).collect();
        let trainer = [(TRAINER, 0.0, 2.0), (TRAINER, 3.0, 4.0), (TRAINER, 4.0, 6.0)];
        assert_eq!(spans, [trainer[0], ("server", 0.0, 5.0), trainer[1], trainer[2]]);
    }

    #[test]
    fn waiting_counts_and_is_no_work() {
        let mut phases = Phases::start();
        assert_eq!(phases.wait("rollouts", || 1) + phases.time("update", || 2), 3);
        let (seconds, timeline) = phases.into_records();
        assert_eq!(seconds.keys().collect::<Vec<_>>(), ["rollouts", "update"]);
        assert!(timeline.iter().all(|span| span.phase == "update"));
    }
}
