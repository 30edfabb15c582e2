//! Points of the matrix: their tables as the manifest has them, and their cells.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use preceptor_benchmarks::{Grader, Task, TaskSet, Wording};
use preceptor_core::{Digest, ModelIdentity, Needs, PromptBody, Sampling, Split};
use preceptor_endpoints::RolloutServersConfig;
use toml::{Table, Value};

use crate::Error;
use crate::catalog::{AggregatorSettings, BenchmarkSettings, ObjectiveSettings};
use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{
    names_of, optional, optional_table, read, read_kind, take_table, with_prompt_text,
};
use crate::manifest::resolved_settings::{
    ResolvedAnchor, ResolvedJudge, ResolvedReward, ResolvedSampling, ResolvedSettings,
    ResolvedTrain,
};
use crate::manifest::roles;
use crate::manifest::settings::{AnchorSettings, GraderSettings, PolicySettings, SamplingSettings};
use crate::manifest::tasks::Tasks;
use crate::manifest::train::{check_sampling, check_splits, check_train, read_train, train_cell};
use crate::manifest::train_settings::Train;
use crate::plan::cell::Cell;
use crate::plan::stages::{CellJudge, EvalJudge, RewardTerm, StageInputs, Stages, Writer};

/// The tables of a point, read.
pub(crate) struct PointTables {
    pub(crate) benchmark: Table,
    pub(crate) held_out: Option<Table>,
    pub(crate) validation: Option<Table>,
    pub(crate) train: Option<Train>,
    pub(crate) policy: PolicySettings,
    pub(crate) aggregator: AggregatorSettings,
    pub(crate) sampling: SamplingSettings,
    pub(crate) grader: GraderSettings,
    pub(crate) anchor: AnchorSettings,
    pub(crate) reward: Vec<RewardTerm>,
    pub(crate) judge: Table,
    pub(crate) eval_judge: Table,
}

impl PointTables {
    pub(crate) fn read(document: &Document, mut table: Table) -> Result<Self, ManifestError> {
        let table = &mut table;
        let benchmark = take_table(document, table, "benchmark")?;
        let mut split = |key: &str| {
            if table.contains_key(key) {
                take_table(document, table, key).map(Some)
            } else {
                Ok(None)
            }
        };
        let (held_out, validation) = (split("held-out")?, split("validation")?);
        let train = read_train(document, table)?;
        let policy = take_table(document, table, "policy")?;
        let policy = read(document, "policy", Value::Table(policy), &[])?;
        let aggregator = take_table(document, table, "aggregator")?;
        let aggregator = with_prompt_text(document, "aggregator", aggregator)?;
        let kinds = names_of(AggregatorSettings::ALL);
        let known = ["prompt-file"];
        let aggregator = read_kind(document, "aggregator", aggregator, &known, &kinds)?;
        Ok(Self {
            benchmark,
            held_out,
            validation,
            train,
            policy,
            aggregator,
            sampling: read(document, "sampling", optional(table, "sampling"), &[])?,
            grader: read(document, "grader", optional(table, "grader"), &[])?,
            anchor: read(document, "anchor", optional(table, "anchor"), &[])?,
            reward: roles::reward(document, table)?,
            judge: optional_table(document, table, "judge")?,
            eval_judge: optional_table(document, table, "eval-judge")?,
        })
    }
}

/// The tasks of a point.
pub(crate) struct PointTasks {
    pub(crate) settings: BenchmarkSettings,
    pub(crate) skip: usize,
    pub(crate) wording: Wording,
    pub(crate) tasks: Rc<TaskSet>,
    pub(crate) held_out: Option<Tasks>,
    pub(crate) validation: Option<Tasks>,
}

impl PointTasks {
    /// Returns the first set with prompts that are chats.
    pub(crate) fn chats(&self) -> Option<&TaskSet> {
        let splits = [&self.held_out, &self.validation].into_iter().flatten();
        let mut sets =
            iter::once(&self.tasks).chain(splits.filter_map(|split| split.tasks.as_ref()));
        let is_chat = |task: &Task| matches!(task.prompt.body, PromptBody::Chat(_));
        sets.find(|set| set.tasks.iter().any(is_chat)).map(|set| &**set)
    }

    /// Has the policy think before it answers any of them.
    pub(crate) fn turn_thinking_on(&mut self) {
        let splits = [&mut self.held_out, &mut self.validation].into_iter().flatten();
        let sets = splits.filter_map(|split| split.tasks.as_mut());
        for tasks in iter::once(&mut self.tasks).chain(sets) {
            *tasks = Rc::new((**tasks).clone().with_thinking());
        }
    }

    fn held_out_tasks(&self) -> Option<&Rc<TaskSet>> {
        self.held_out.as_ref()?.tasks.as_ref()
    }

    fn validation_tasks(&self) -> Option<&Rc<TaskSet>> {
        self.validation.as_ref()?.tasks.as_ref()
    }
}

/// A point with every value explicit: everything about its cells but their seeds.
pub(crate) struct ResolvedPoint {
    /// Value of each axis by its key.
    pub(crate) axes: BTreeMap<String, String>,
    pub(crate) tasks: PointTasks,
    pub(crate) train: Option<Train>,
    pub(crate) policy: PolicySettings,
    pub(crate) model: ModelIdentity,
    pub(crate) group_size: u32,
    pub(crate) sampling: Sampling,
    pub(crate) aggregator: AggregatorSettings,
    pub(crate) aggregator_prompt: Option<Digest>,
    pub(crate) needs: Needs,
    pub(crate) anchor: Writer,
    pub(crate) judge: Option<CellJudge>,
    pub(crate) reward: Vec<RewardTerm>,
    pub(crate) grader: Grader,
    pub(crate) eval_judge: Option<EvalJudge>,
}

impl ResolvedPoint {
    /// Refuses a training run that is impossible.
    pub(crate) fn check_training(
        &self,
        document: &Document,
        is_remote: bool,
    ) -> Result<(), ManifestError> {
        let Some(train) = &self.train else { return Ok(()) };
        check_train(document, train, is_remote, self.tasks.tasks.tasks.len())?;
        if matches!(train.objective, ObjectiveSettings::Grpo(_)) {
            if self.reward.is_empty() {
                let detail = "`train.kind = \"grpo\"`: there is no `[reward]`";
                let mut error = document.error_at("train", detail);
                error.hint = Some("`grpo` trains on rewards: name their terms".to_owned());
                return Err(error);
            }
            if self.group_size < 2 {
                let key = "sampling.group-size";
                let group_size = self.group_size;
                let detail = format!("`{key} = {group_size}`: `grpo` compares 2 rollouts or more");
                return Err(document.error_at(key, detail));
            }
        }
        let splits = [
            (Split::TestTime, true),
            (Split::HeldOut, self.tasks.held_out.is_some()),
            (Split::Validation, self.tasks.validation.is_some()),
        ];
        check_splits(document, train, &splits)?;
        check_sampling(document, train, &self.sampling)
    }

    /// Returns the cell of `seed`, and adds what the user should know about it to `notices`.
    pub(crate) fn cell(&self, seed: u64, notices: &mut BTreeSet<String>) -> Result<Cell, Error> {
        let inputs = StageInputs {
            tasks: &self.tasks.tasks,
            model: &self.model,
            sampling: &self.sampling,
            group_size: self.group_size,
            seed,
            aggregator: &self.aggregator,
            aggregator_prompt: self.aggregator_prompt.as_ref(),
            anchor: &self.anchor,
            judge: self.judge.as_ref(),
            eval_judge: self.eval_judge.as_ref(),
            reward: &self.reward,
            grader: self.grader,
        };
        let benchmark = self.axes.get("benchmark").unwrap_or(&self.tasks.tasks.name);
        let mut cell = Cell {
            id: Digest::of(&[]),
            axes: self.axes.clone(),
            seed,
            benchmark: benchmark.clone(),
            tasks: Rc::clone(&self.tasks.tasks),
            model_name: self.policy.model.clone(),
            policy_name: self.policy.model.clone(),
            model: self.model.clone(),
            sampling: self.sampling.clone(),
            group_size: self.group_size,
            aggregator: self.aggregator.clone(),
            aggregator_prompt: self.aggregator_prompt.clone(),
            anchor: self.anchor.clone(),
            judge: self.judge.clone(),
            eval_judge: self.eval_judge.clone(),
            reward: self.reward.clone(),
            grader: self.grader,
            stages: Stages::new(&inputs)?,
            training: None,
            settings: toml::to_string(&self.settings(seed)).expect("settings are plain data"),
        };
        if let Some(train) = &self.train {
            let splits = [
                (Split::HeldOut, self.tasks.held_out_tasks()),
                (Split::Validation, self.tasks.validation_tasks()),
            ];
            let training = train_cell(&mut cell, train, &inputs, &splits)?;
            notices.extend(training.warnings(self.group_size, &self.sampling));
            cell.training = Some(Rc::new(training));
        }
        cell.id = cell.digest();
        Ok(cell)
    }

    /// Returns the settings of the cell of `seed`, every value explicit.
    fn settings(&self, seed: u64) -> ResolvedSettings<'_> {
        let Self { sampling, anchor, .. } = self;
        ResolvedSettings {
            seed,
            benchmark: &self.tasks.settings,
            skip: self.tasks.skip,
            limit: self.tasks.tasks.tasks.len(),
            wording: &self.tasks.wording,
            policy: &self.policy,
            sampling: ResolvedSampling {
                group_size: self.group_size,
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                top_p: sampling.top_p,
                min_p: sampling.min_p,
                max_new_tokens: sampling.max_new_tokens,
                stop: &sampling.stop,
            },
            aggregator: &self.aggregator,
            anchor: self.needs.anchor.then_some(ResolvedAnchor {
                model: &anchor.name,
                temperature: anchor.sampling.temperature,
                top_k: anchor.sampling.top_k,
                top_p: anchor.sampling.top_p,
                min_p: anchor.sampling.min_p,
                max_new_tokens: anchor.sampling.max_new_tokens,
            }),
            judge: self
                .judge
                .as_ref()
                .map(|judge| ResolvedJudge { model: &judge.name, settings: &judge.settings }),
            reward: (!self.reward.is_empty()).then_some(ResolvedReward { terms: &self.reward }),
            grader: GraderSettings { profile: Some(self.grader) },
            eval_judge: self.eval_judge.as_ref().map(|judge| &judge.settings),
            train: self.train.as_ref().map(|train| ResolvedTrain {
                settings: &train.settings,
                objective: &train.objective,
                rollout_server: train.rollouts.as_ref().map(RolloutServersConfig::kind),
            }),
            held_out: self.tasks.held_out.as_ref().and_then(Tasks::resolved),
            validation: self.tasks.validation.as_ref().and_then(Tasks::resolved),
        }
    }
}
