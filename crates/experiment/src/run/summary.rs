//! Options of a run and what it did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use preceptor_core::{CallFailureKind, ModelRole, Usage};
use preceptor_models::GenerationOptions;

/// Request to stop a run, for example by a signal. By default there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopRequest(Option<&'static AtomicBool>);

impl StopRequest {
    /// Creates a request that is made when `flag` becomes true.
    pub fn new(flag: &'static AtomicBool) -> Self {
        Self(Some(flag))
    }

    pub(crate) fn is_made(self) -> bool {
        self.0.is_some_and(|flag| flag.load(Ordering::SeqCst))
    }
}

/// Settings of a run that don't reach its results.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Stop instead of sampling rollouts that are missing.
    pub only_stored_rollouts: bool,
    /// Sampling of policies that are trained.
    pub generation: GenerationOptions,
    /// Begin training runs that seem not to fit into memory.
    pub ignores_memory: bool,
    /// Bytes of each device's memory, which replace the value that the device reports.
    pub device_bytes: Option<u64>,
    /// Stops the run after the next record or training step.
    pub stop: StopRequest,
}

/// Calls of one role: their cost and their failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleCost {
    /// Calls that were made.
    pub num_calls: u64,
    /// Questions that an earlier call answered, in another run or in this one.
    pub num_reused: u64,
    /// Tokens read and written.
    pub usage: Usage,
    /// Wall-clock time of the calls.
    pub seconds: f64,
    /// Cost in USD, by the endpoints' price tables.
    pub cost_usd: f64,
    /// Calls that failed after their retries, by kind.
    pub failures: BTreeMap<CallFailureKind, u64>,
}

/// Summary of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// Rollouts that were sampled.
    pub num_rollouts: u64,
    /// Records that were stored before.
    pub num_reused: u64,
    /// Tokens read and written.
    pub usage: Usage,
    /// Calls beyond rollouts, by role.
    pub roles: BTreeMap<ModelRole, RoleCost>,
    /// Training steps that were made.
    pub num_steps: u64,
    /// Records that could not be made. Running again tries them again.
    pub num_failed: u64,
}
