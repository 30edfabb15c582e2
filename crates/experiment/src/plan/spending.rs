//! Spending of the runs of an experiment, stored beside the records so that reports can add it up.
//!
//! Each role of an experiment has a stage, to which each run adds its spending. So a call is counted
//! by the run that made it, and by no condition that finds it in the store. Runs with other settings of the
//! same experiment count too: they were paid for.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::{CostRecord, RECORD_FORMAT};
use preceptor_store::{StageSpec, Store};
use serde::Serialize;

use crate::Error;
use crate::plan::resolved::Plan;

/// Role of sampling rollouts.
pub(crate) const ROLLOUTS: &str = "rollouts";
/// Role of sampling in training steps.
pub(crate) const TRAINING: &str = "training";
/// Every role.
const ROLES: [&str; 6] = [ROLLOUTS, TRAINING, "anchor", "judge", "policy", "eval-judge"];

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SpendingSpec<'a> {
    format: u32,
    experiment: &'a str,
    role: &'a str,
}

impl Plan {
    fn spending_spec(&self, role: &str) -> StageSpec {
        let spec = SpendingSpec { format: RECORD_FORMAT, experiment: &self.experiment, role };
        StageSpec::new("spending", &spec).expect("names are plain data")
    }

    /// Returns the stages in which runs note their spending, by role.
    pub(crate) fn spending_stages(&self) -> BTreeMap<String, Digest> {
        let stage = |role: &str| (role.to_owned(), self.spending_spec(role).digest().clone());
        ROLES.into_iter().map(stage).collect()
    }

    /// Adds what a run spent, by role.
    pub(crate) fn note_spending(
        &self,
        store: &Store,
        spent: &BTreeMap<&str, CostRecord>,
    ) -> Result<(), Error> {
        debug_assert!(spent.keys().all(|role| ROLES.contains(role)), "every role has a stage");
        for role in ROLES {
            let stage = store.stage(&self.spending_spec(role));
            if stage.keys()?.is_empty() {
                stage.writer().append("role", &role)?;
                stage.compact()?;
            }
            if let Some(cost) = spent.get(role).filter(|cost| **cost != CostRecord::default()) {
                stage.add_cost(cost)?;
            }
        }
        Ok(())
    }
}
