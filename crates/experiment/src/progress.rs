//! What a run tells whoever watches.

use preceptor_core::Usage;

/// What is counted while a stage is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Rollouts of the policy.
    Rollouts,
    /// Replies of an anchor or a judge.
    Replies,
    /// Texts whose log-probabilities are wanted.
    Texts,
}

impl Unit {
    /// The plural.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rollouts => "rollouts",
            Self::Replies => "replies",
            Self::Texts => "texts",
        }
    }
}

/// Hears how a run goes on. Nothing of it reaches a record.
pub trait Progress {
    /// A stage is about to be filled: `num_present` of `num_wanted` records are there.
    fn stage_started(&mut self, label: &str, unit: Unit, num_present: u64, num_wanted: u64) {
        let _ = (label, unit, num_present, num_wanted);
    }

    /// One more record of the stage is there.
    fn record_added(&mut self) {}

    /// Tokens were read or written.
    fn tokens(&mut self, usage: Usage) {
        let _ = usage;
    }

    /// The stage is as full as it gets now.
    fn stage_finished(&mut self) {}

    /// A step of training has ended: its number, how many there are, what was measured.
    fn step_ended(&mut self, label: &str, step: u64, num_steps: u64, text: &str) {
        let _ = (label, step, num_steps, text);
    }

    /// Something the user should know, for example a part that is left out.
    fn notice(&mut self, text: &str) {
        let _ = text;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
