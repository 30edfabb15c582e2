//! `provenance.json`: the sources of every number of a report.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::record::{CellStages, CostRecord};
use serde::Serialize;

use crate::evidence::Evidence;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Provenance<'a> {
    experiment: &'a str,
    plan: &'a Digest,
    code_revision: &'a str,
    program_version: &'static str,
    inputs: &'a BTreeMap<String, String>,
    seeds: &'a [u64],
    left_out: &'a [preceptor_core::record::LeftOut],
    cells: Vec<CellProvenance<'a>>,
    rollout_costs: BTreeMap<String, CostRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CellProvenance<'a> {
    id: &'a Digest,
    axes: &'a BTreeMap<String, String>,
    seed: u64,
    stages: &'a CellStages,
}

pub(crate) fn provenance<'a>(evidence: &'a Evidence, plan: &'a Digest) -> Provenance<'a> {
    let record = &evidence.plan;
    let cell = |cell: &'a preceptor_core::record::CellRecord| CellProvenance {
        id: &cell.id,
        axes: &cell.axes,
        seed: cell.seed,
        stages: &cell.stages,
    };
    let costs = evidence
        .rollout_cells()
        .into_iter()
        .map(|cell| &cell.stages.rollouts)
        .map(|stage| (stage.to_string(), evidence.rollout_cost(stage)));
    Provenance {
        experiment: &record.experiment,
        plan,
        code_revision: &record.code_revision,
        program_version: env!("CARGO_PKG_VERSION"),
        inputs: &record.inputs,
        seeds: &record.seeds,
        left_out: &record.left_out,
        cells: record.cells.iter().map(cell).collect(),
        rollout_costs: costs.collect(),
    }
}
