//! `provenance.json`: the sources of every number of a report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use preceptor_core::Digest;
use preceptor_core::record::{CellStages, CostRecord, TrainingRecord, step_key};
use serde::Serialize;

use crate::Error;
use crate::evidence::Evidence;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Provenance<'a> {
    experiment: &'a str,
    plan: &'a Digest,
    code_revision: &'a str,
    /// True if the run was not finished.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    program_version: &'static str,
    inputs: &'a BTreeMap<String, String>,
    seeds: &'a [u64],
    left_out: &'a [preceptor_core::record::LeftOut],
    cells: Vec<CellProvenance<'a>>,
    rollout_costs: BTreeMap<String, CostRecord>,
    /// Digests of tables and figures by path.
    files: BTreeMap<String, Digest>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CellProvenance<'a> {
    id: &'a Digest,
    axes: &'a BTreeMap<String, String>,
    seed: u64,
    stages: &'a CellStages,
    #[serde(skip_serializing_if = "Option::is_none")]
    training: Option<TrainingProvenance<'a>>,
}

/// The training run behind a trained policy.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TrainingProvenance<'a> {
    /// The training run: the stage of its steps.
    run: &'a Digest,
    /// The groups of its steps.
    groups: &'a Digest,
    /// The checkpoint of these weights in the store; the initial policy has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    /// The step after which the policy was taken; 0 is the initial policy.
    step: u64,
    num_steps: u64,
}

/// Returns the sources of a report in `folder`, whose tables and figures are among `files`.
pub(crate) fn provenance<'a>(
    evidence: &'a Evidence,
    plan: &'a Digest,
    folder: &Path,
    files: &[PathBuf],
    partial: bool,
) -> Result<Provenance<'a>, Error> {
    let record = &evidence.plan;
    let training = |of: &'a TrainingRecord| {
        let step = evidence.chosen_step(of).unwrap_or(of.num_steps);
        TrainingProvenance {
            run: &of.steps,
            groups: &of.groups,
            checkpoint: (step > 0)
                .then(|| format!("training/{}/checkpoints/step-{}", of.steps, step_key(step))),
            step,
            num_steps: of.num_steps,
        }
    };
    let cell = |cell: &'a preceptor_core::record::CellRecord| CellProvenance {
        id: &cell.id,
        axes: &cell.axes,
        seed: cell.seed,
        stages: &cell.stages,
        training: cell.training.as_ref().map(training),
    };
    let costs = evidence
        .rollout_cells()
        .into_iter()
        .map(|cell| &cell.stages.rollouts)
        .map(|stage| (stage.to_string(), evidence.rollout_cost(stage)));
    Ok(Provenance {
        experiment: &record.experiment,
        plan,
        code_revision: &record.code_revision,
        partial,
        program_version: env!("CARGO_PKG_VERSION"),
        inputs: &record.inputs,
        seeds: &record.seeds,
        left_out: &record.left_out,
        cells: record.cells.iter().map(cell).collect(),
        rollout_costs: costs.collect(),
        files: digests(folder, files)?,
    })
}

/// Returns the digests of tables and figures.
fn digests(folder: &Path, files: &[PathBuf]) -> Result<BTreeMap<String, Digest>, Error> {
    let mut digests = BTreeMap::new();
    for path in files {
        let Ok(name) = path.strip_prefix(folder) else { continue };
        if name.starts_with("tables") || name.starts_with("figures") {
            let failed = |error: std::io::Error| Error::Read {
                path: path.clone(),
                detail: error.to_string(),
            };
            let bytes = fs::read(path).map_err(failed)?;
            digests.insert(name.display().to_string(), Digest::of(&bytes));
        }
    }
    Ok(digests)
}
