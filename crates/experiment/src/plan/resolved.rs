//! Resolved experiments: every cell, and the stages of rollouts that they share.

use std::collections::BTreeMap;

use preceptor_core::Digest;
use preceptor_core::contrast::ContrastRecord;
use preceptor_core::record::{AxisRecord, LeftOut, PlanRecord, RECORD_FORMAT};
use preceptor_store::Store;

use crate::Error;
use crate::manifest::estimate_settings::EstimateSettings;
use crate::manifest::launch::LaunchSettings;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::plan::course::Course;

/// A resolved experiment.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) experiment: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) axes: Vec<AxisRecord>,
    pub(crate) seeds: Vec<u64>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) notices: Vec<String>,
    pub(crate) settings: String,
    pub(crate) contrasts: Vec<ContrastRecord>,
    pub(crate) estimate: EstimateSettings,
    pub(crate) launch: LaunchSettings,
}

/// Number of records of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageState {
    /// Stored records.
    pub num_present: u64,
    /// Records that the plan needs.
    pub num_wanted: u64,
}

/// A stage of rollouts in a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StageSummary {
    /// Benchmark, model and seed, for people.
    pub label: String,
    /// The stage's name.
    pub digest: Digest,
    /// Present and wanted records.
    pub state: StageState,
    /// The most tokens that sampling the missing rollouts can take.
    pub max_new_tokens: u64,
    /// Seconds for the missing records, at the speed of earlier runs of this stage's model; none if
    /// there are none.
    pub estimated_secs: Option<f64>,
}

impl Plan {
    /// Returns the experiment's name.
    pub fn experiment(&self) -> &str {
        &self.experiment
    }

    /// Returns the title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Returns every cell.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Returns the parts that can't run here, with reasons.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Returns notices for the user: settings without effect, prompts that are skipped.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Returns the GPUs that a task of `[launch]` has for this program, at least 1.
    pub fn num_gpus(&self) -> u64 {
        u64::from(self.launch.gpus.saturating_sub(self.launch.server_gpus).max(1))
    }

    /// Returns the figures from which time and cost are estimated.
    pub fn estimate_settings(&self) -> &EstimateSettings {
        &self.estimate
    }

    /// Names the policies that early stopping chose, as far as the records of `store` decide it. A plan
    /// whose records are read or reported is settled first.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn settle(&mut self, store: &Store) -> Result<(), Error> {
        let mut steps: BTreeMap<Digest, Option<u64>> = BTreeMap::new();
        for cell in &mut self.cells {
            let Some(training) = cell.training.clone() else { continue };
            let Some(choice) = &training.choice else { continue };
            let step = match steps.get(choice.digest()) {
                Some(step) => *step,
                None => {
                    let result = Course { training: &training, store }.result()?;
                    *steps.entry(choice.digest().clone()).or_insert(result)
                }
            };
            if let Some(step) = step {
                *cell = cell.settled(&training, step)?;
            }
        }
        Ok(())
    }

    /// Keeps the cells whose value on `axis` is `value`; the seed is the axis `seed`.
    pub fn retain(&mut self, axis: &str, value: &str) {
        self.cells.retain(|cell| match axis {
            "seed" => cell.seed.to_string() == value,
            _ => cell.axes.get(axis).is_some_and(|name| name == value),
        });
    }

    /// Returns the cells that use the rollouts of `demand`.
    pub(crate) fn cells_of(&self, demand: &RolloutDemand) -> impl Iterator<Item = &Cell> {
        let stage = demand.cell.stages.rollouts.digest().clone();
        self.cells.iter().filter(move |cell| *cell.stages.rollouts.digest() == stage)
    }

    /// Returns the distinct stages of rollouts, in the order of the cells.
    pub(crate) fn rollout_demands(&self) -> Vec<RolloutDemand> {
        let mut demands: Vec<RolloutDemand> = Vec::new();
        for cell in &self.cells {
            let known = demands
                .iter_mut()
                .find(|demand| demand.cell.stages.rollouts == cell.stages.rollouts);
            match known {
                Some(demand) => {
                    demand.group_size = demand.group_size.max(cell.group_size);
                    if cell.tasks.tasks.len() > demand.cell.tasks.tasks.len() {
                        demand.cell = cell.clone();
                    }
                }
                None => {
                    let group_size = cell.group_size;
                    demands.push(RolloutDemand { cell: cell.clone(), group_size });
                }
            }
        }
        demands
    }

    /// Returns the present and missing records of each stage of rollouts.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if the store can't be read.
    pub fn summarize(&self, store: &Store) -> Result<Vec<StageSummary>, Error> {
        let speed = self.speed(store)?;
        let mut summaries = Vec::new();
        for demand in self.rollout_demands() {
            let stage = store.stage(&demand.cell.stages.rollouts);
            let present = stage.keys()?;
            let wanted = demand.keys();
            let num_present = wanted.intersection(&present).count() as u64;
            let state = StageState { num_present, num_wanted: wanted.len() as u64 };
            let missing = state.num_wanted - num_present;
            summaries.push(StageSummary {
                label: demand.label(),
                digest: stage.digest().clone(),
                state,
                max_new_tokens: missing * u64::from(demand.cell.sampling.max_new_tokens),
                estimated_secs: speed.get(&demand.cell.benchmark).map(|secs| secs * missing as f64),
            });
        }
        Ok(summaries)
    }

    /// Returns the seconds per rollout by benchmark, from the runs on this store so far.
    fn speed(&self, store: &Store) -> Result<BTreeMap<String, f64>, Error> {
        let mut spent: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for demand in self.rollout_demands() {
            let cost = store.stage(&demand.cell.stages.rollouts).cost()?;
            let entry = spent.entry(demand.cell.benchmark.clone()).or_default();
            entry.0 += cost.wall_secs;
            entry.1 += cost.num_records;
        }
        spent.retain(|_, (_, records)| *records > 0);
        Ok(spent.into_iter().map(|(name, (secs, n))| (name, secs / n as f64)).collect())
    }

    /// Returns the record of the plan, which reports read.
    pub fn record(&self) -> PlanRecord {
        let mut inputs = BTreeMap::new();
        for cell in &self.cells {
            let model = &cell.model_name;
            let identity = cell.training.as_ref().map_or(&cell.model, |training| &training.initial);
            inputs.insert(format!("model {model}: weights"), identity.weights.to_string());
            inputs.insert(format!("model {model}: tokenizer"), cell.model.tokenizer.to_string());
            if let Some(template) = &cell.model.template {
                inputs.insert(format!("model {model}: chat template"), template.to_string());
            }
            let mut others = Vec::new();
            if cell.needs().anchor {
                others.push((&cell.anchor.name, &cell.anchor.identity));
            }
            others.extend(cell.judge.iter().map(|judge| (&judge.name, &judge.identity)));
            let eval_judge = cell.eval_judge.iter();
            others.extend(eval_judge.map(|judge| (&judge.settings.model, &judge.identity)));
            for (name, identity) in others {
                let digest = if identity.attested {
                    identity.weights.to_string()
                } else {
                    format!("{} (of its name: not attested)", identity.weights)
                };
                inputs.insert(format!("model {name}: weights"), digest);
            }
            let benchmark = &cell.benchmark;
            let tasks = &cell.tasks;
            inputs.insert(format!("{benchmark}: prompts"), tasks.prompts_digest.to_string());
            inputs.insert(format!("{benchmark}: labels"), tasks.labels_digest.to_string());
        }
        PlanRecord {
            format: RECORD_FORMAT,
            experiment: self.experiment.clone(),
            title: self.title.clone(),
            description: self.description.clone(),
            axes: self.axes.clone(),
            seeds: self.seeds.clone(),
            cells: self.cells.iter().map(Cell::record).collect(),
            left_out: self.left_out.clone(),
            contrasts: self.contrasts.clone(),
            spending: self.spending_stages(),
            inputs,
            settings: self.settings.clone(),
            code_revision: env!("PRECEPTOR_CODE_REVISION").to_owned(),
        }
    }
}
