//! Progress of a run.

use preceptor_core::Usage;

/// Records that are counted while a stage is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rollouts of the policy.
    Rollouts,
    /// Replies of an anchor or a judge.
    Replies,
    /// Texts to score by log-probability.
    Texts,
}

impl Unit {
    /// Returns the plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollouts => "rollouts",
            Self::Replies => "replies",
            Self::Texts => "texts",
        }
    }
}

/// Cells of a plan by what a run does with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellCounts {
    /// Cells that the run has completed, apart from records that failed.
    pub num_done: usize,
    /// Cells whose rollouts or records are being made.
    pub num_running: usize,
    /// Cells of the plan.
    pub num_cells: usize,
}

/// Observer of a run. No record depends on it.
pub trait Progress {
    /// Called before a stage is filled: `num_present` of `num_wanted` records are stored.
    fn stage_started(&mut self, label: &str, unit: Unit, num_present: u64, num_wanted: u64) {
        let _ = (label, unit, num_present, num_wanted);
    }

    /// Called when the stage has another record.
    fn record_added(&mut self) {}

    /// Called when a record could not be made.
    fn record_failed(&mut self) {}

    /// Called when work on cells begins or ends.
    fn cells_changed(&mut self, cells: CellCounts) {
        let _ = cells;
    }

    /// Called with the tokens and the cost in USD of the whole run so far.
    fn spent(&mut self, usage: Usage, cost_usd: f64) {
        let _ = (usage, cost_usd);
    }

    /// Called when tokens were read or written.
    fn tokens(&mut self, usage: Usage) {
        let _ = usage;
    }

    /// Called when the stage is finished, apart from records that failed.
    fn stage_finished(&mut self) {}

    /// Called after a training step: `step` of `num_steps`, with its measures as text.
    fn step_ended(&mut self, label: &str, step: u64, num_steps: u64, text: &str) {
        let _ = (label, step, num_steps, text);
    }

    /// Passes on a notice for the user, for example about a part that is left out.
    fn notice(&mut self, text: &str) {
        let _ = text;
    }
}

/// Observer that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
