//! The plan: every cell with every value explicit, and the stages that must be filled.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use preceptor_benchmarks::{Grader, TaskSet};
use preceptor_core::contrast::ContrastRecord;
use preceptor_core::record::{
    AxisRecord, CellRecord, CellStages, LeftOut, PlanRecord, RECORD_FORMAT, rollout_key,
};
use preceptor_core::{Digest, ModelIdentity, Needs, Sampling};
use preceptor_store::Store;

use crate::Error;
use crate::catalog::AggregatorSettings;
use crate::stages::{
    CellJudge, EvalJudge, RewardTerm, StageInputs, Stages, Writer, grader_id, needs_of,
};
use crate::training::{Course, Training};

/// One cell: a point of the matrix with a seed.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(crate) id: Digest,
    pub(crate) axes: BTreeMap<String, String>,
    pub(crate) seed: u64,
    pub(crate) benchmark: String,
    pub(crate) tasks: Rc<TaskSet>,
    pub(crate) model_name: String,
    /// What the policy is called where models are opened: a trained one is not its initial one.
    pub(crate) policy_name: String,
    pub(crate) model: ModelIdentity,
    pub(crate) sampling: Sampling,
    pub(crate) group_size: u32,
    pub(crate) aggregator: AggregatorSettings,
    /// Of the prompt that the aggregator's model is shown.
    pub(crate) aggregator_prompt: Option<Digest>,
    pub(crate) anchor: Writer,
    pub(crate) judge: Option<CellJudge>,
    pub(crate) eval_judge: Option<EvalJudge>,
    pub(crate) reward: Vec<RewardTerm>,
    pub(crate) grader: Grader,
    /// Those of the policy after training, where there is a training.
    pub(crate) stages: Stages,
    pub(crate) training: Option<Rc<Training>>,
    pub(crate) settings: String,
}

impl Cell {
    /// Digest of the resolved settings.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// The cell's value on each axis, and its seed, for people.
    pub fn label(&self) -> String {
        let axes = self.axes.iter().map(|(key, value)| format!("{key}={value}"));
        axes.chain([format!("seed={}", self.seed)]).collect::<Vec<_>>().join(" ")
    }
}

impl Cell {
    /// Gives the cell the policy `model` of its training run, with the stages that follow.
    pub(crate) fn take_policy(
        &mut self,
        training: &Training,
        model: ModelIdentity,
    ) -> Result<(), Error> {
        let stages = Stages::new(&StageInputs {
            tasks: &self.tasks,
            model: &model,
            sampling: &self.sampling,
            group_size: self.group_size,
            seed: self.seed,
            aggregator: &self.aggregator,
            aggregator_prompt: self.aggregator_prompt.as_ref(),
            anchor: &self.anchor,
            judge: self.judge.as_ref(),
            eval_judge: self.eval_judge.as_ref(),
            // A trained cell's rewards are those of its steps.
            reward: &[],
            grader: self.grader,
        })?;
        self.policy_name = training.policy_name(&self.model_name, &model);
        (self.model, self.stages) = (model, stages);
        Ok(())
    }

    /// The cell with the policy after `step`, which is the result of its training run.
    pub(crate) fn settled(&self, training: &Training, step: u64) -> Result<Self, Error> {
        let mut cell = self.clone();
        cell.take_policy(training, training.identity(step))?;
        Ok(cell)
    }
}

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
}

/// How full a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageState {
    /// Records that are there.
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
    /// How full it is.
    pub state: StageState,
    /// The most tokens that drawing what is missing can take.
    pub max_new_tokens: u64,
    /// What is missing, in seconds, by the speed of earlier runs of this stage's model; none if
    /// there were none.
    pub estimated_secs: Option<f64>,
}

/// The rollouts that the cells of a plan share: one stage, the largest group, every prompt.
#[derive(Clone, Debug)]
pub(crate) struct RolloutDemand {
    /// A cell that needs the stage; they agree on everything that decides it.
    pub(crate) cell: Cell,
    /// The largest group.
    pub(crate) group_size: u32,
}

impl RolloutDemand {
    /// Benchmark, model and seed.
    pub(crate) fn label(&self) -> String {
        let Cell { benchmark, model_name, seed, training, .. } = &self.cell;
        match training {
            None => format!("{benchmark} · {model_name} · seed {seed}"),
            Some(_) => format!("{benchmark} · {model_name} trained · {}", self.cell.label()),
        }
    }

    /// Every key that is wanted.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let prompts = self.cell.tasks.tasks.iter().map(|task| &task.prompt.id);
        prompts.flat_map(|id| (0..self.group_size).map(|i| rollout_key(id, i))).collect()
    }
}

impl Plan {
    /// The experiment's name.
    pub fn experiment(&self) -> &str {
        &self.experiment
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Every cell.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// What can't run here, and why.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// What the user should know: settings without effect, prompts that are passed over.
    pub fn notices(&self) -> &[String] {
        &self.notices
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

    /// The cells that use the rollouts of `demand`.
    pub(crate) fn cells_of(&self, demand: &RolloutDemand) -> impl Iterator<Item = &Cell> {
        let stage = demand.cell.stages.rollouts.digest().clone();
        self.cells.iter().filter(move |cell| *cell.stages.rollouts.digest() == stage)
    }

    /// The distinct stages of rollouts, in the order of the cells.
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

    /// What each stage of rollouts has and lacks.
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

    /// Seconds a rollout by benchmark, from what runs on this store have spent so far.
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

    /// The plan as reports read it.
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
                let digest = match identity.attested {
                    true => identity.weights.to_string(),
                    false => format!("{} (of its name: not attested)", identity.weights),
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

impl Cell {
    /// What its aggregator and its reward need.
    pub(crate) fn needs(&self) -> Needs {
        self.aggregator.entry().needs.union(needs_of(&self.reward))
    }

    /// The reward's name: that of its value on the axis, else the kinds of its terms.
    pub(crate) fn reward_name(&self) -> Option<String> {
        let kinds = self.reward.iter().map(|term| term.settings.entry().name);
        let kinds = kinds.collect::<Vec<_>>().join(" + ");
        let on_axis = self.axes.get("reward").cloned();
        (!self.reward.is_empty()).then(|| on_axis.unwrap_or(kinds))
    }

    fn record(&self) -> CellRecord {
        let stages = &self.stages;
        CellRecord {
            id: self.id.clone(),
            axes: self.axes.clone(),
            seed: self.seed,
            benchmark: self.benchmark.clone(),
            model: self.model_name.clone(),
            aggregator: self.aggregator.entry().name.to_owned(),
            sees_labels: self.aggregator.entry().needs.labels,
            reward: self.reward_name(),
            reward_sees_labels: needs_of(&self.reward).labels,
            anchor: self.needs().anchor.then(|| self.anchor.name.clone()),
            judge: self.judge.as_ref().map(|judge| judge.name.clone()),
            group_size: self.group_size,
            grader: grader_id(self.grader),
            prompts: self.tasks.tasks.iter().map(|task| task.prompt.id.clone()).collect(),
            shareable: self.tasks.shareable,
            stages: CellStages {
                prompts: stages.prompts.digest().clone(),
                rollouts: stages.rollouts.digest().clone(),
                rollout_grades: stages.rollout_grades.digest().clone(),
                answer_classes: stages.answer_classes.digest().clone(),
                aggregates: stages.aggregates.digest().clone(),
                grades: stages.grades.digest().clone(),
                rewards: stages.rewards.as_ref().map(|spec| spec.digest().clone()),
            },
            training: self.training.as_ref().map(|training| training.record(&self.reward)),
            settings: self.settings.clone(),
        }
    }
}
