//! Spending of the runs of an experiment, stored beside the records so that reports can add it up.
//!
//! Each role of an experiment has a stage, to which each run adds its spending. So a call is counted
//! by the run that made it, and by no condition that finds it in the store. Runs with other settings of the
//! same experiment count too: they were paid for.

use std::collections::BTreeMap;

use preceptor_core::record::{CostRecord, RECORD_FORMAT};
use preceptor_core::{Digest, ModelRole};
use preceptor_store::{StageSpec, Store};
use serde::Serialize;

use crate::Error;
use crate::plan::resolved::Plan;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SpendingSpec<'a> {
    format: u32,
    experiment: &'a str,
    role: ModelRole,
}

impl Plan {
    fn spending_spec(&self, role: ModelRole) -> StageSpec {
        let spec = SpendingSpec { format: RECORD_FORMAT, experiment: &self.experiment, role };
        StageSpec::new("spending", &spec).expect("names are plain data")
    }

    /// Returns the stages in which runs note their spending, by role.
    pub(crate) fn spending_stages(&self) -> BTreeMap<ModelRole, Digest> {
        let stage = |role| (role, self.spending_spec(role).digest().clone());
        ModelRole::ALL.into_iter().map(stage).collect()
    }

    /// Adds what a run spent, by role.
    pub(crate) fn note_spending(
        &self,
        store: &Store,
        spent: &BTreeMap<ModelRole, CostRecord>,
    ) -> Result<(), Error> {
        for role in ModelRole::ALL {
            let stage = store.stage(&self.spending_spec(role));
            if stage.keys()?.is_empty() {
                stage.writer().append("role", &role)?;
                stage.compact()?;
            }
            if let Some(cost) = spent.get(&role).filter(|cost| **cost != CostRecord::default()) {
                stage.add_cost(cost)?;
            }
        }
        Ok(())
    }
}
