//! The state of a whole run, in one line.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use preceptor_core::Usage;
use preceptor_experiment::{CellCounts, Plan, Unit};
use preceptor_reports::format_usd;
use preceptor_store::Store;

use crate::failure::Failure;
use crate::terminal::{now, time};

/// Time over which the speed is measured.
const WINDOW: Duration = Duration::from_secs(30);

/// Records that a run has to make.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunDemand {
    num_rollouts: u64,
    num_steps: u64,
    /// True if models are called for more than rollouts.
    has_calls: bool,
}

impl RunDemand {
    /// Counts the records of a plan that the store lacks.
    pub(crate) fn of(plan: &Plan, store: &Store) -> Result<Self, Failure> {
        let rollouts = plan.summarize(store)?;
        let rollouts = rollouts.iter().map(|of| of.state.num_wanted - of.state.num_present);
        let steps = plan.train_demands(store)?;
        let steps = steps.iter().map(|of| of.num_steps.saturating_sub(of.num_present));
        let calls = plan.call_demands(store)?;
        Ok(Self {
            num_rollouts: rollouts.sum(),
            num_steps: steps.sum(),
            has_calls: calls.iter().any(|of| of.state.num_present < of.state.num_wanted),
        })
    }
}

/// Records of one kind that were made, and the time that they took.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    num: u64,
    time: Duration,
}

impl Made {
    /// Returns the time that `num` more take; none before the first. `open` is the time of the one that is
    /// being made.
    fn time_for(&self, num: u64, open: Duration) -> Option<Duration> {
        let mean = self.time.checked_div(u32::try_from(self.num).ok()?)?;
        let with_open = (self.time + open).mul_f64(1.0 / (self.num as f64 + 1.0));
        Some(mean.max(with_open).mul_f64(num as f64))
    }
}

/// State of a run.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(crate) cells: CellCounts,
    pub(crate) num_failed: u64,
    demand: RunDemand,
    rollouts: Made,
    steps: Made,
    /// Records of the stage that is being filled: made, and still missing.
    stage: Option<(Unit, Made, u64)>,
    usage: Usage,
    cost_usd: f64,
    /// Generated tokens at some moments of the last [`WINDOW`].
    tokens: VecDeque<(Instant, u64)>,
    started: Instant,
    /// The last record, or beginning or end of a stage.
    last: Instant,
    /// The end of the last step or rollout; calls belong to the step that they are made in.
    last_step: Instant,
}

impl RunState {
    pub(crate) fn new(demand: RunDemand) -> Self {
        let now = now();
        Self {
            cells: CellCounts::default(),
            num_failed: 0,
            demand,
            rollouts: Made::default(),
            steps: Made::default(),
            stage: None,
            usage: Usage::default(),
            cost_usd: 0.0,
            tokens: VecDeque::from([(now, 0)]),
            started: now,
            last: now,
            last_step: now,
        }
    }

    /// Returns the time since the last event, which is now.
    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.last, now());
        self.last - before
    }

    pub(crate) fn start_stage(&mut self, unit: Unit, num_missing: u64) {
        self.lap();
        self.stage = Some((unit, Made::default(), num_missing));
    }

    pub(crate) fn add_record(&mut self) {
        let lap = self.lap();
        let Some((unit, made, num_missing)) = &mut self.stage else { return };
        made.num += 1;
        made.time += lap;
        *num_missing = num_missing.saturating_sub(1);
        if *unit == Unit::Rollouts {
            self.rollouts.num += 1;
            self.rollouts.time += lap;
            self.demand.num_rollouts = self.demand.num_rollouts.saturating_sub(1);
            self.last_step = self.last;
        }
    }

    pub(crate) fn end_stage(&mut self) {
        self.lap();
        self.stage = None;
    }

    pub(crate) fn end_step(&mut self) {
        let before = std::mem::replace(&mut self.last_step, now());
        self.steps.num += 1;
        self.steps.time += self.last_step - before;
        self.demand.num_steps = self.demand.num_steps.saturating_sub(1);
    }

    pub(crate) fn spend(&mut self, usage: Usage, cost_usd: f64) {
        (self.usage, self.cost_usd) = (usage, cost_usd);
        self.tokens.push_back((now(), usage.num_generated_tokens));
    }

    /// Returns the generated tokens per second of the last [`WINDOW`].
    fn speed(&mut self, now: Instant) -> f64 {
        while self.tokens.len() > 1 && now - self.tokens[1].0 > WINDOW {
            self.tokens.pop_front();
        }
        let Some((since, before)) = self.tokens.front() else { return 0.0 };
        let secs = (now - *since).as_secs_f64().max(0.1);
        (self.usage.num_generated_tokens - before) as f64 / secs
    }

    /// Returns the time left, as far as it is known, and whether that is all of it.
    fn time_left(&self, now: Instant) -> Option<(Duration, bool)> {
        let since = now.saturating_duration_since(self.last);
        let since_step = now.saturating_duration_since(self.last_step);
        let is_sampling = self.stage.is_some_and(|(unit, ..)| unit == Unit::Rollouts);
        let (of_rollouts, of_steps) = match (is_sampling, self.stage.is_some()) {
            (true, _) => (since, Duration::ZERO),
            (false, true) => (Duration::ZERO, Duration::ZERO),
            (false, false) => (Duration::ZERO, since_step),
        };
        let replies = self.stage.filter(|_| !is_sampling);
        let replies = replies.map_or_else(Default::default, |(_, made, missing)| (missing, made));
        let open = [
            (self.demand.num_rollouts, self.rollouts, of_rollouts),
            (self.demand.num_steps, self.steps, of_steps),
            (replies.0, replies.1, since),
        ];
        let open = open.iter().filter(|(num, ..)| *num > 0);
        let times: Vec<Option<Duration>> =
            open.map(|(num, made, since)| made.time_for(*num, *since)).collect();
        let known = times.iter().flatten().sum();
        let is_all = times.iter().all(Option::is_some) && !self.demand.has_calls;
        (is_all || times.iter().any(Option::is_some)).then_some((known, is_all))
    }

    /// Describes the run.
    pub(crate) fn text(&mut self, now: Instant) -> String {
        let CellCounts { num_done, num_running, num_cells } = self.cells;
        let num_waiting = num_cells - num_done - num_running;
        let left = match self.time_left(now) {
            _ if num_done == num_cells => String::new(),
            None => " · time left unknown".to_owned(),
            Some((left, true)) => format!(" · about {} left", time(left)),
            Some((left, false)) => format!(" · at least {} left", time(left)),
        };
        let failures = match self.num_failed {
            1 => "1 failure".to_owned(),
            num => format!("{num} failures"),
        };
        format!(
            "{}: cells {num_done} done, {num_running} running, {num_waiting} waiting · {:.0} tokens/s · \
             {} USD · {failures}{left}",
            time(now - self.started),
            self.speed(now),
            format_usd(self.cost_usd),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves the last event back, as if time had passed.
    fn pass(state: &mut RunState, secs: u64) {
        state.last -= Duration::from_secs(secs);
        state.last_step -= Duration::from_secs(secs);
    }

    fn text(state: &mut RunState) -> String {
        let later = state.started + Duration::from_secs(20);
        state.last = later;
        state.text(later)
    }

    #[test]
    fn a_run_is_described_from_its_first_second_to_its_last() {
        let demand = RunDemand { num_rollouts: 10, num_steps: 0, has_calls: true };
        let mut state = RunState::new(demand);
        state.cells = CellCounts { num_done: 0, num_running: 2, num_cells: 4 };
        insta::assert_snapshot!(text(&mut state), @"20 s: cells 0 done, 2 running, 2 waiting · 0 tokens/s · 0 USD · 0 failures · time left unknown");
        state.start_stage(Unit::Rollouts, 10);
        for _ in 0..4 {
            pass(&mut state, 20);
            state.add_record();
        }
        state.spend(Usage { num_prompt_tokens: 9, num_generated_tokens: 400 }, 0.25);
        insta::assert_snapshot!(text(&mut state), @"20 s: cells 0 done, 2 running, 2 waiting · 20 tokens/s · 0.250 USD · 0 failures · at least 2 min 00 s left");
        (0..6).for_each(|_| state.add_record());
        state.num_failed = 1;
        state.end_stage();
        state.start_stage(Unit::Replies, 3);
        pass(&mut state, 5);
        state.add_record();
        state.cells = CellCounts { num_done: 3, num_running: 1, num_cells: 4 };
        insta::assert_snapshot!(text(&mut state), @"20 s: cells 3 done, 1 running, 0 waiting · 20 tokens/s · 0.250 USD · 1 failure · at least 10 s left");
    }

    #[test]
    fn steps_are_timed_apart_from_rollouts() {
        let mut state =
            RunState::new(RunDemand { num_rollouts: 6, num_steps: 4, has_calls: false });
        pass(&mut state, 30);
        state.end_step();
        // Rollouts of the final policy were not timed yet.
        assert_eq!(
            state.time_left(state.last_step).map(|(left, all)| (left.as_secs(), all)),
            Some((90, false))
        );
        state.start_stage(Unit::Rollouts, 6);
        pass(&mut state, 2);
        state.add_record();
        assert_eq!(
            state.time_left(state.last_step).map(|(left, all)| (left.as_secs(), all)),
            Some((100, true))
        );
    }
}
