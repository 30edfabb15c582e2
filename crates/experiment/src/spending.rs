//! What runs of an experiment paid for, kept beside the records so that reports can add it up.
//!
//! One stage for each role of one experiment, by its name; each run adds what it spent. So a call is counted
//! by the run that made it, and by no condition that finds it in the store. Runs with other settings of the
//! same experiment count too: they were paid for.

use std::collections::BTreeMap;

use preceptor_core::record::{CostRecord, RECORD_FORMAT};
use preceptor_core::{Digest, ModelRole};
use preceptor_store::{StageSpec, Store};
use serde::Serialize;

use crate::Error;
use crate::plan::Plan;
use crate::recorded_model::RoleCost;
use crate::run::RunSummary;

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

    /// Where runs note what they spent, by role.
    pub(crate) fn spending_stages(&self) -> BTreeMap<ModelRole, Digest> {
        let stage = |role| (role, self.spending_spec(role).digest().clone());
        ModelRole::ALL.into_iter().map(stage).collect()
    }

    /// Notes what a run spent.
    pub(crate) fn note_spending(
        &self,
        store: &Store,
        roles: &BTreeMap<ModelRole, RoleCost>,
        summary: &RunSummary,
    ) -> Result<(), Error> {
        let mut spent: BTreeMap<ModelRole, CostRecord> = BTreeMap::new();
        for (&role, cost) in roles {
            let record = CostRecord {
                num_records: cost.num_calls,
                num_prompt_tokens: cost.usage.num_prompt_tokens,
                num_generated_tokens: cost.usage.num_generated_tokens,
                wall_secs: cost.seconds,
                cost_usd: cost.cost_usd,
            };
            spent.insert(role, record);
        }
        let drawn = roles.get(&ModelRole::Rollouts).map(|cost| cost.usage).unwrap_or_default();
        let trained = CostRecord {
            num_records: summary.num_steps,
            num_prompt_tokens: summary.usage.num_prompt_tokens - drawn.num_prompt_tokens,
            num_generated_tokens: summary.usage.num_generated_tokens - drawn.num_generated_tokens,
            ..CostRecord::default()
        };
        spent.insert(ModelRole::Training, trained);
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
