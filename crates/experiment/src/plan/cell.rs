//! A cell of a plan and, where its policy is trained, its training run.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use preceptor_benchmarks::{Grader, TaskSet};
use preceptor_core::record::{CellRecord, CellStages, EvaluationRecord, rollout_key};
use preceptor_core::{Digest, ModelIdentity, Needs, Sampling, Split};
use preceptor_endpoints::RolloutServersConfig;
use preceptor_models::Trace;
use preceptor_store::StageSpec;
use preceptor_trainer::objective::sft;

use crate::Error;
use crate::catalog::{AggregatorSettings, ObjectiveSettings};
use crate::manifest::train_settings::TrainSettings;
use crate::plan::stages::{
    CellJudge, EvalJudge, RewardTerm, StageInputs, Stages, Writer, grader_id, needs_of,
};

/// Cell: a point of the matrix with a seed.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(crate) id: Digest,
    pub(crate) axes: BTreeMap<String, String>,
    pub(crate) seed: u64,
    pub(crate) benchmark: String,
    pub(crate) tasks: Rc<TaskSet>,
    pub(crate) model_name: String,
    /// Name under which the policy is opened. A trained policy has another name than the initial one.
    pub(crate) policy_name: String,
    pub(crate) model: ModelIdentity,
    pub(crate) sampling: Sampling,
    pub(crate) group_size: u32,
    pub(crate) aggregator: AggregatorSettings,
    /// Digest of the prompt that the aggregator's model is shown.
    pub(crate) aggregator_prompt: Option<Digest>,
    pub(crate) anchor: Writer,
    pub(crate) judge: Option<CellJudge>,
    pub(crate) eval_judge: Option<EvalJudge>,
    pub(crate) reward: Vec<RewardTerm>,
    pub(crate) grader: Grader,
    /// Stages; those of the policy after training, if it is trained.
    pub(crate) stages: Stages,
    pub(crate) training: Option<Rc<Training>>,
    pub(crate) settings: String,
}

impl Cell {
    /// Returns the digest of the resolved settings.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Returns the cell's value on each axis, and its seed, for people.
    pub fn label(&self) -> String {
        let axes = self.axes.iter().map(|(key, value)| format!("{key}={value}"));
        axes.chain([format!("seed={}", self.seed)]).collect::<Vec<_>>().join(" ")
    }

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

    /// Returns the cell with the policy after `step`, which is the result of its training run.
    pub(crate) fn settled(&self, training: &Training, step: u64) -> Result<Self, Error> {
        let mut cell = self.clone();
        cell.take_policy(training, training.identity(step))?;
        Ok(cell)
    }

    /// Returns the stage that a process claims to work on the cell: its training run, or its rollouts.
    pub(crate) fn claimed_stage(&self) -> &StageSpec {
        self.training.as_ref().map_or(&self.stages.rollouts, |training| &training.steps)
    }

    /// Returns the digest that identifies the cell: of its settings and of the stages that follow.
    pub(crate) fn digest(&self) -> Digest {
        let rewards = self.stages.rewards.as_ref().map_or("", |spec| spec.digest().as_str());
        let training = self.training.as_ref().map_or("", |t| t.steps.digest().as_str());
        Digest::of_parts([
            self.settings.as_bytes(),
            self.stages.grades.digest().as_str().as_bytes(),
            rewards.as_bytes(),
            training.as_bytes(),
        ])
    }

    /// Returns the inputs that its aggregator or its reward needs.
    pub(crate) fn needs(&self) -> Needs {
        self.aggregator.entry().needs.union(needs_of(&self.reward))
    }

    /// Returns the reward's name: that of its value on the axis, otherwise the kinds of its terms.
    pub(crate) fn reward_name(&self) -> Option<String> {
        let kinds = self.reward.iter().map(|term| term.settings.entry().name);
        let kinds = kinds.collect::<Vec<_>>().join(" + ");
        let on_axis = self.axes.get("reward").cloned();
        (!self.reward.is_empty()).then(|| on_axis.unwrap_or(kinds))
    }

    pub(crate) fn record(&self) -> CellRecord {
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

/// The rollouts that the cells of a plan share: one stage, the largest group, every prompt.
#[derive(Clone, Debug)]
pub(crate) struct RolloutDemand {
    /// A cell that needs the stage; they agree on everything that decides it.
    pub(crate) cell: Cell,
    /// The largest group.
    pub(crate) group_size: u32,
}

impl RolloutDemand {
    /// Returns benchmark, model and seed, for people.
    pub(crate) fn label(&self) -> String {
        let Cell { benchmark, model_name, seed, training, .. } = &self.cell;
        match training {
            None => format!("{benchmark} · {model_name} · seed {seed}"),
            Some(_) => format!("{benchmark} · {model_name} trained · {}", self.cell.label()),
        }
    }

    /// Returns every key that is wanted.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let prompts = self.cell.tasks.tasks.iter().map(|task| &task.prompt.id);
        prompts.flat_map(|id| (0..self.group_size).map(|i| rollout_key(id, i))).collect()
    }
}

/// Training run of a cell.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    pub(crate) settings: TrainSettings,
    pub(crate) objective: ObjectiveSettings,
    /// Servers that sample its rollouts.
    pub(crate) rollouts: Option<RolloutServersConfig>,
    /// The policy before the first step.
    pub(crate) initial: ModelIdentity,
    /// The cell with that policy; none only while the plan is made.
    pub(crate) untrained: Option<Rc<Cell>>,
    /// Temperature of the log-probabilities of the policy gradient.
    pub(crate) temperature: f64,
    /// The record that sampling keeps of each token; none where the unmodified log-probabilities suffice.
    pub(crate) trace: Option<Trace>,
    pub(crate) steps: StageSpec,
    pub(crate) groups: StageSpec,
    pub(crate) costs: StageSpec,
    /// By rising step; several of one step are of several splits.
    pub(crate) evaluations: Vec<Evaluation>,
    /// Stage with the chosen step, if early stopping chooses one.
    pub(crate) choice: Option<StageSpec>,
    pub(crate) losses: Option<ValidationLosses>,
}

/// The losses on the pseudo-references of the validation prompts.
#[derive(Clone, Debug)]
pub(crate) struct ValidationLosses {
    /// Their records.
    pub(crate) stage: StageSpec,
    /// The cell of the validation prompts with the initial policy.
    pub(crate) cell: Rc<Cell>,
    pub(crate) aggregation: sft::Aggregation,
}

/// Evaluation of the policy after some steps on the prompts of a split.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    pub(crate) step: u64,
    pub(crate) split: Split,
    /// Rollouts of the evaluation. Its cell has the policy of that step and the tasks of the split.
    pub(crate) demand: RolloutDemand,
}

impl Evaluation {
    pub(crate) fn record(&self) -> EvaluationRecord {
        let cell = &self.demand.cell;
        EvaluationRecord {
            step: self.step,
            split: self.split,
            num_rollouts: self.demand.group_size,
            prompts: cell.tasks.tasks.iter().map(|task| task.prompt.id.clone()).collect(),
            rollouts: cell.stages.rollouts.digest().clone(),
            rollout_grades: cell.stages.rollout_grades.digest().clone(),
        }
    }
}
