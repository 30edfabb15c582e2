//! Sizes of a suite: the largest one that an amount of time and money allows.

use std::collections::BTreeMap;

use preceptor_experiment::{Counting, Document, Estimate, HeldWeights};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::estimate::{ShownEstimate, quoted};
use crate::failure::Failure;
use crate::session::open_to_plan;
use crate::shared_arguments::ExperimentArguments;

/// Size of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Size {
    /// Seeds of every experiment: 0, 1, and so on.
    pub(crate) seeds: u64,
    /// Steps of every training run. The policy is evaluated before, twice between, and after.
    pub(crate) steps: u64,
    /// Prompts per step.
    pub(crate) prompts_per_step: u64,
    /// The most prompts of each benchmark and split.
    pub(crate) prompts: usize,
}

impl Size {
    /// Applies the size to an experiment. Settings that are there already win.
    pub(crate) fn apply(&self, experiment: &mut ExperimentArguments) -> Result<(), Failure> {
        let Self { seeds, steps, prompts_per_step, prompts } = self;
        let seeds: Vec<String> = (0..*seeds).map(|seed| seed.to_string()).collect();
        let mut settings = vec![format!("seeds=[{}]", seeds.join(", "))];
        if Document::read(&experiment.file, &[])?.has("train") {
            settings.push(format!("train.steps={steps}"));
            settings.push(format!("train.evaluate-every={}", steps.div_ceil(3)));
            settings.push(format!("train.prompts-per-step={prompts_per_step}"));
        }
        settings.append(&mut experiment.settings);
        experiment.settings = settings;
        experiment.limit = Some(*prompts);
        Ok(())
    }

    /// Returns the size in words.
    pub(crate) fn text(&self) -> String {
        let Self { seeds, steps, prompts_per_step, prompts } = self;
        let seeds = if *seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") };
        format!(
            "{seeds}, training runs of {steps} steps with {prompts_per_step} prompts, at most {prompts} prompts of each benchmark"
        )
    }
}

/// Time and money that a suite may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) hours: f64,
    pub(crate) num_gpus: u64,
    /// In USD, for endpoints.
    pub(crate) budget: f64,
}

/// The size that was chosen.
pub(crate) struct Chosen {
    pub(crate) size: Size,
    /// Number of the size, from 1, and number of sizes.
    pub(crate) number: [usize; 2],
    pub(crate) allowance: Allowance,
    /// Lines and value of its estimate.
    pub(crate) lines: Vec<String>,
    pub(crate) estimate: Value,
}

impl Chosen {
    pub(crate) fn text(&self) -> String {
        let [number, count] = self.number;
        let Allowance { hours, num_gpus, budget } = self.allowance;
        let gpus = if num_gpus == 1 { "1 GPU".to_owned() } else { format!("{num_gpus} GPUs") };
        format!(
            "Size {number} of {count}, the largest that is estimated to take at most {hours} hours on {gpus} and \
             {budget} USD for endpoints: {}.",
            self.size.text()
        )
    }

    pub(crate) fn json(&self) -> Value {
        let Size { seeds, steps, prompts_per_step, prompts } = self.size;
        json!({
            "size": self.number[0], "sizes": self.number[1], "seeds": seeds, "steps": steps,
            "prompts-per-step": prompts_per_step, "prompts": prompts, "estimate": self.estimate,
        })
    }
}

/// Returns the first of `sizes` whose whole estimate, stored records included, is within `allowance`. So the same
/// command chooses the same size when it resumes.
pub(crate) fn choose(
    sizes: &[Size],
    allowance: Allowance,
    experiments: &dyn Fn(&Size) -> Result<Vec<ExperimentArguments>, Failure>,
) -> Result<Chosen, Failure> {
    let mut last = String::new();
    for (index, size) in sizes.iter().enumerate() {
        let mut counting = Counting::all();
        let mut estimate = Estimate::default();
        let mut settings = None;
        let mut held: BTreeMap<&str, HeldWeights> = BTreeMap::new();
        for experiment in experiments(size)? {
            let session = open_to_plan(&experiment)?;
            if session.plan.estimate_settings().weights.is_none() {
                return Err(Failure::input(
                    format!("choose a size: `{}` states no speed", experiment.file.display()),
                    "give it an `[estimate]` table with `weights`, `sampled-per-sec` and `trained-per-sec`",
                ));
            }
            estimate += session.plan.estimate(&mut counting, &session.models, &BTreeMap::new())?;
            settings.get_or_insert_with(|| session.plan.estimate_settings().clone());
            for weights in session.plan.held_weights(&session.models) {
                let known = held.get(weights.holder).map_or(0, |known| known.num_bytes);
                if weights.num_bytes > known {
                    held.insert(weights.holder, weights);
                }
            }
        }
        let Some(settings) = settings else { break };
        if !estimate.unknown.is_empty() {
            return Err(Failure::input(
                format!(
                    "choose a size: the number of weights of {} is unknown",
                    quoted(&estimate.unknown)
                ),
                "take a model of the registry (`preceptor models list`), or download it first",
            ));
        }
        let hours = estimate.hours(allowance.num_gpus);
        if hours <= allowance.hours && estimate.endpoints_usd <= allowance.budget {
            let held: Vec<_> = held.into_values().rev().collect();
            let shown = ShownEstimate {
                estimate: &estimate,
                settings: &settings,
                num_gpus: allowance.num_gpus,
                held: &held,
            };
            return Ok(Chosen {
                size: size.clone(),
                number: [index + 1, sizes.len()],
                allowance,
                lines: shown.lines(),
                estimate: shown.json(),
            });
        }
        last = format!("{hours:.1} hours and {:.2} USD", estimate.endpoints_usd);
    }
    Err(Failure::input(
        format!(
            "choose a size within {} hours and {} USD: the smallest is estimated to take {last}",
            allowance.hours, allowance.budget
        ),
        "raise `--hours`, `--gpus` or `--budget`",
    ))
}
