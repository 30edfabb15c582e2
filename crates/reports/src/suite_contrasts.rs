//! Contrasts that a suite declares across its experiments.

use preceptor_core::Split;
use preceptor_core::contrast::{ContrastFault, ContrastMetric, ContrastRecord};
use preceptor_core::record::PlanRecord;
use serde::Deserialize;

use crate::Error;

/// A declared comparison within one experiment of a suite.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Declared")]
pub struct SuiteContrast {
    /// The experiment that has both conditions.
    pub experiment: String,
    /// The declared comparison.
    pub contrast: ContrastRecord,
}

/// The keys of a `[[contrast]]` in `suite.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Declared {
    experiment: String,
    name: String,
    #[serde(default)]
    metric: ContrastMetric,
    a: String,
    b: String,
    split: Option<Split>,
    step: Option<u64>,
}

impl From<Declared> for SuiteContrast {
    fn from(declared: Declared) -> Self {
        let Declared { experiment, name, metric, a, b, split, step } = declared;
        Self { experiment, contrast: ContrastRecord { name, metric, a, b, split, step } }
    }
}

/// Refuses contrasts that the plans of a suite, by experiment, can't answer.
///
/// # Errors
///
/// [`Error::Contrast`] for an unknown experiment, and for faults that [`ContrastRecord::check`]
/// finds.
pub fn check_contrasts(
    contrasts: &[SuiteContrast],
    plans: &[(String, PlanRecord)],
) -> Result<(), Error> {
    for SuiteContrast { experiment, contrast } in contrasts {
        let Some((_, plan)) = plans.iter().find(|(name, _)| name == experiment) else {
            let known: Vec<_> = plans.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(Error::Contrast {
                name: contrast.name.clone(),
                key: "experiment",
                detail: format!("`{experiment}` is not part of the suite"),
                hint: format!("its experiments are {}", known.join(", ")),
            });
        };
        contrast.check(plan).map_err(|ContrastFault { key, detail, hint }| Error::Contrast {
            name: contrast.name.clone(),
            key,
            detail,
            hint,
        })?;
    }
    Ok(())
}
