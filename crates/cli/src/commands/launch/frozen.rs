//! The frozen plan: which index of an array is which unit of work.

use std::fs;
use std::path::Path;

use preceptor_core::Digest;
use preceptor_experiment::{Plan, WorkUnit};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Version of the file.
const FORMAT: u32 = 1;

/// A plan as it was launched, in `plan.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FrozenPlan {
    format: u32,
    experiment: String,
    manifest: String,
    /// Digest of the plan. A task whose manifest gives another one does not run.
    plan: Digest,
    units: Vec<FrozenUnit>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FrozenUnit {
    index: usize,
    label: String,
    cells: Vec<String>,
}

impl FrozenPlan {
    pub(crate) fn new(plan: &Plan, digest: &Digest, manifest: &Path, units: &[WorkUnit]) -> Self {
        let frozen = |(index, unit): (usize, &WorkUnit)| FrozenUnit {
            index,
            label: unit.label.clone(),
            cells: unit.cells.clone(),
        };
        Self {
            format: FORMAT,
            experiment: plan.experiment().to_owned(),
            manifest: manifest.display().to_string(),
            plan: digest.clone(),
            units: units.iter().enumerate().map(frozen).collect(),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a plan is plain data");
        format!("{json}\n")
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let hint = "`preceptor launch` writes it";
        let refuse = |detail: String| {
            Failure::input(format!("read the plan `{}`: {detail}", path.display()), hint)
        };
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        let frozen: Self =
            serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if frozen.format != FORMAT {
            return Err(refuse(format!("expected format {FORMAT}, found {}", frozen.format)));
        }
        Ok(frozen)
    }

    /// Refuses a manifest whose plan is another one.
    pub(crate) fn check(&self, path: &Path, found: &Digest, file: &Path) -> Result<(), Failure> {
        if self.plan == *found {
            return Ok(());
        }
        Err(Failure::input(
            format!(
                "use the plan `{}`: expected plan {}, found {} in `{}`",
                path.display(),
                short(&self.plan),
                short(found),
                file.display()
            ),
            "the manifest, its data or an option changed since it was launched; run `preceptor launch` again",
        ))
    }
}

fn short(digest: &Digest) -> &str {
    &digest.as_str()[..12]
}
