//! What a run tells whoever watches.

use preceptor_core::Usage;

/// Hears how a run goes on. Nothing of it reaches a record.
pub trait Progress {
    /// A stage is about to be filled: `num_present` of `num_wanted` records are there.
    fn stage_started(&mut self, label: &str, num_present: u64, num_wanted: u64) {
        let _ = (label, num_present, num_wanted);
    }

    /// One more record of the stage is there.
    fn record_added(&mut self) {}

    /// Tokens were read or written.
    fn tokens(&mut self, usage: Usage) {
        let _ = usage;
    }

    /// The stage is full.
    fn stage_finished(&mut self) {}

    /// Something the user should know, for example a part that is left out.
    fn notice(&mut self, text: &str) {
        let _ = text;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
