//! From a document to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use preceptor_benchmarks::Task;
use preceptor_core::{Digest, PromptBody, Split};
use preceptor_endpoints::{Config as EndpointConfig, Error as EndpointError};
use preceptor_files::Files;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::Error;
use crate::catalog::{AggregatorSettings, BenchmarkSettings, JudgeSettings, ObjectiveSettings};
use crate::contrasts::{CONTRAST, check_contrasts, take_contrasts};
use crate::document::Document;
use crate::error::ManifestError;
use crate::grid::{Grid, Point};
use crate::model_host::ModelHost;
use crate::plan::{Cell, Plan};
use crate::reading::{
    names_of, optional, optional_table, read, read_kind, take_table, with_prompt_text,
};
use crate::roles;
use crate::settings::{
    AnchorSettings, EvalJudgeSettings, GraderSettings, PolicySettings, SamplingSettings,
};
use crate::stages::{RewardTerm, StageInputs, Stages, needs_of};
use crate::task_tables::{ResolvedSplit, TaskTables, Tasks};
use crate::training::{
    TrainSettings, check_sampling, check_splits, check_train, read_train, train_cell,
};

/// The tables that describe a cell; everything else on top describes the experiment.
const CELL_TABLES: [&str; 12] = [
    "benchmark",
    "held-out",
    "validation",
    "train",
    "policy",
    "sampling",
    "aggregator",
    "anchor",
    "judge",
    "reward",
    "grader",
    "eval-judge",
];

/// What the command line adds to a manifest.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolveOptions {
    /// Caps every benchmark's number of tasks.
    pub limit: Option<usize>,
}

/// The top of a manifest, without the tables that describe cells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Header {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default = "default_seeds")]
    seeds: Vec<u64>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

/// What a cell's identity is the digest of.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedCell<'a> {
    seed: u64,
    benchmark: &'a BenchmarkSettings,
    #[serde(skip_serializing_if = "is_zero")]
    skip: usize,
    limit: usize,
    policy: &'a PolicySettings,
    sampling: ResolvedSampling<'a>,
    aggregator: &'a AggregatorSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<ResolvedAnchor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<ResolvedJudge<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<ResolvedReward<'a>>,
    grader: GraderSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_judge: Option<&'a EvalJudgeSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    train: Option<ResolvedTrain<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<ResolvedSplit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validation: Option<ResolvedSplit<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedTrain<'a> {
    #[serde(flatten)]
    settings: &'a TrainSettings,
    objective: &'a ObjectiveSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedAnchor<'a> {
    model: &'a str,
    temperature: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    max_new_tokens: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedJudge<'a> {
    model: &'a str,
    #[serde(flatten)]
    settings: &'a JudgeSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedReward<'a> {
    terms: &'a [RewardTerm],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ResolvedSampling<'a> {
    group_size: u32,
    temperature: f64,
    top_k: u32,
    top_p: f64,
    min_p: f64,
    max_new_tokens: u32,
    stop: &'a [String],
}

/// The `[endpoints.NAME]` tables of a document: models behind an OpenAI-compatible interface. Their
/// names must not be those of models in the registry of `files`.
///
/// # Errors
///
/// [`ManifestError`] pointing at what can't be used.
pub fn endpoints(
    document: &Document,
    files: &Files,
) -> Result<BTreeMap<String, EndpointConfig>, ManifestError> {
    let no_table = |key: &str| {
        let detail = "`endpoints` holds a table for each: write `[endpoints.NAME]`";
        document.error_at(key, detail)
    };
    let tables = match document.table().get("endpoints") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Table(tables)) => tables.clone(),
        Some(_) => return Err(no_table("endpoints")),
    };
    let endpoint = |(name, table): (String, Value)| {
        let path = format!("endpoints.{name}");
        if !table.is_table() {
            return Err(no_table(&path));
        }
        if files.registry().models.contains_key(&name) {
            let detail = format!("`[{path}]`: `{name}` is the name of a model in the registry");
            let mut error = document.error_at(&path, detail);
            error.hint = Some("give the endpoint another name".to_owned());
            return Err(error);
        }
        let config: EndpointConfig = read(document, &path, table, &[])?;
        config.validate().map_err(|error| {
            let key = match &error {
                EndpointError::BadSetting { key, .. } => format!("{path}.{key}"),
                _ => path.clone(),
            };
            document.error_at(&key, error.to_string())
        })?;
        Ok((name, config))
    };
    tables.into_iter().map(endpoint).collect()
}

/// Makes a plan of a document.
///
/// # Errors
///
/// [`Error::Manifest`] pointing at what can't be used; errors of files and models that are needed
/// and missing.
pub fn resolve(
    document: &Document,
    files: &Files,
    models: &mut dyn ModelHost,
    options: ResolveOptions,
) -> Result<Plan, Error> {
    let mut table = document.table().clone();
    // Read by `endpoints`, before there is anything to resolve.
    table.remove("endpoints");
    let grid = Grid::take(&mut table, document)?;
    let contrasts = take_contrasts(document, &mut table)?;
    let mut cell_table = Table::new();
    for key in CELL_TABLES {
        if let Some(value) = table.remove(key) {
            cell_table.insert(key.to_owned(), value);
        }
    }
    let header: Header = read(document, "", Value::Table(table), &top_level_keys())?;
    if header.seeds.is_empty() {
        return Err(document.error_at("seeds", "`seeds` is empty; name at least one").into());
    }
    for (i, seed) in header.seeds.iter().enumerate() {
        if header.seeds[..i].contains(seed) {
            let detail = format!("seed {seed} stands twice: it would only repeat its own rollouts");
            return Err(document.error_at("seeds", detail).into());
        }
    }

    let axes = grid.axes();
    let mut resolver = Resolver {
        document,
        models,
        tables: TaskTables::new(document, files, options.limit),
        notices: BTreeSet::new(),
    };
    let mut cells = Vec::new();
    for point in grid.points(document)? {
        let mut table = cell_table.clone();
        point.apply(&mut table, document)?;
        let keys = axes.iter().map(|axis| axis.key.clone());
        let names: BTreeMap<_, _> = keys.zip(point.names.iter().cloned()).collect();
        let seeds = header.seeds.iter().copied();
        let seeds: Vec<u64> = seeds.filter(|seed| !grid.excludes(&point, *seed)).collect();
        cells.extend(resolver.resolve_point(&point, table, &names, &seeds)?);
    }
    let Resolver { tables, mut notices, .. } = resolver;
    let TaskTables { left_out, notices: of_tasks, .. } = tables;
    notices.extend(of_tasks);
    if cells.is_empty() {
        let reasons = left_out.iter().map(|l| format!("{}: {}", l.part, l.reason)).collect();
        return Err(Error::NoCells { experiment: document.name().to_owned(), reasons });
    }
    let plan = Plan {
        experiment: document.name().to_owned(),
        title: header.title,
        description: header.description,
        axes,
        seeds: header.seeds,
        cells,
        left_out,
        notices: notices.into_iter().collect(),
        settings: toml::to_string_pretty(document.table()).expect("it was TOML"),
        contrasts,
    };
    check_contrasts(document, &plan)?;
    Ok(plan)
}

struct Resolver<'a> {
    document: &'a Document,
    models: &'a mut dyn ModelHost,
    tables: TaskTables<'a>,
    notices: BTreeSet<String>,
}

impl Resolver<'_> {
    fn resolve_point(
        &mut self,
        point: &Point,
        mut table: Table,
        names: &BTreeMap<String, String>,
        seeds: &[u64],
    ) -> Result<Vec<Cell>, Error> {
        let benchmark = take_table(self.document, &mut table, "benchmark")?;
        let mut split = |key: &str| match table.contains_key(key) {
            true => take_table(self.document, &mut table, key).map(Some),
            false => Ok(None),
        };
        let (held_out, validation) = (split("held-out")?, split("validation")?);
        let train = read_train(self.document, &mut table)?;
        let policy = take_table(self.document, &mut table, "policy")?;
        let policy: PolicySettings = read(self.document, "policy", Value::Table(policy), &[])?;
        let aggregator = take_table(self.document, &mut table, "aggregator")?;
        let aggregator = with_prompt_text(self.document, "aggregator", aggregator)?;
        let mut aggregator: AggregatorSettings = read_kind(
            self.document,
            "aggregator",
            aggregator,
            &["prompt-file"],
            &names_of(AggregatorSettings::ALL),
        )?;
        let sampling: SamplingSettings =
            read(self.document, "sampling", optional(&mut table, "sampling"), &[])?;
        let grader: GraderSettings =
            read(self.document, "grader", optional(&mut table, "grader"), &[])?;
        let anchor: AnchorSettings =
            read(self.document, "anchor", optional(&mut table, "anchor"), &[])?;
        let mut reward = roles::reward(self.document, &mut table)?;
        let judge = optional_table(self.document, &mut table, "judge")?;
        let eval_judge = optional_table(self.document, &mut table, "eval-judge")?;

        let num_cells = seeds.len() as u64;
        let base = benchmark.clone();
        let Tasks { settings: benchmark, skip, if_available, tasks } =
            self.tables.tasks("benchmark", benchmark, num_cells)?;
        let Some(tasks) = tasks else { return Ok(Vec::new()) };
        let held_out = self.tables.split("held-out", held_out, &base, &tasks, train.is_some())?;
        let validation =
            self.tables.split("validation", validation, &base, &tasks, train.is_some())?;
        let model = self.models.identify(&policy.model)?;
        let splits = [&held_out, &validation].into_iter().flatten();
        let asked = iter::once(&tasks).chain(splits.filter_map(|split| split.tasks.as_ref()));
        let is_chat = |task: &Task| matches!(task.prompt.body, PromptBody::Chat(_));
        let chats = asked.filter(|_| !self.models.takes_chats(&model));
        if let Some(chats) = chats.into_iter().find(|set| set.tasks.iter().any(is_chat)) {
            let detail = format!(
                "`{}` has no chat template, which the prompts of `{}` need",
                policy.model, chats.name
            );
            if if_available {
                self.tables.leave_out(format!("benchmark {}", chats.name), num_cells, detail);
                return Ok(Vec::new());
            }
            let mut error = self.document.error_at("policy.model", detail);
            error.hint = Some(
                "take an instruction-tuned model, or plain prompts: `arithmetic`, or `benchmark.shots = 4` where answers are final"
                    .to_owned(),
            );
            return Err(error.into());
        }
        let grader = grader.profile.unwrap_or(tasks.grader);
        let has_final_answers = tasks.grader.profile().is_some();
        if grader.profile().is_some() != has_final_answers {
            let detail = format!(
                "`grader.profile = \"{grader}\"` does not fit `{}`, whose own is `{}`",
                tasks.name, tasks.grader
            );
            return Err(self.document.error_at("grader.profile", detail).into());
        }
        for term in &mut reward {
            term.complete(benchmark.scores_form())?;
        }
        let defaults = self.models.sampling_defaults(&policy.model);
        let (group_size, sampling) = sampling
            .resolve(defaults, &tasks.stop)
            .map_err(|wrong| roles::out_of_range(self.document, "sampling", &wrong))?;
        let of_rollout = anchor.max_new_tokens.is_none().then_some(sampling.max_new_tokens);
        aggregator.complete(has_final_answers, of_rollout);
        let prompt =
            roles::check_aggregator(self.document, &aggregator, has_final_answers, &tasks.name)?;
        let needs = aggregator.entry().needs.and(needs_of(&reward));
        let anchor =
            roles::anchor(self.document, self.models, &anchor, &policy.model, &sampling, needs)?;
        let judge = match needs.judge {
            true => Some(roles::judge(self.document, self.models, judge)?),
            false => None,
        };
        if needs.grades && judge.as_ref().is_some_and(|judge| !judge.settings.grades()) {
            return Err(roles::no_grades(self.document, names).into());
        }
        let eval_judge = match has_final_answers {
            true => None,
            false => Some(roles::eval_judge(self.document, self.models, eval_judge, &tasks.name)?),
        };
        let benchmark_name = names.get("benchmark").cloned().unwrap_or_else(|| tasks.name.clone());

        if let Some(train) = &train {
            let is_remote = self.models.is_remote(&policy.model);
            let checked = check_train(self.document, train, is_remote, tasks.tasks.len());
            checked.map_err(Error::Manifest)?;
            let grpo = matches!(train.objective, ObjectiveSettings::Grpo(_));
            if grpo && reward.is_empty() {
                let detail = "`train.kind = \"grpo\"`: there is no `[reward]`";
                let mut error = self.document.error_at("train", detail);
                error.hint = Some("`grpo` trains on rewards: name their terms".to_owned());
                return Err(error.into());
            }
            if grpo && group_size < 2 {
                let key = "sampling.group-size";
                let detail = format!("`{key} = {group_size}`: `grpo` compares 2 rollouts or more");
                return Err(self.document.error_at(key, detail).into());
            }
            let splits = [
                (Split::TestTime, true),
                (Split::HeldOut, held_out.is_some()),
                (Split::Validation, validation.is_some()),
            ];
            check_splits(self.document, train, &splits)?;
            check_sampling(self.document, train, &sampling)?;
        }

        let mut cells = Vec::new();
        for &seed in seeds {
            let resolved = ResolvedCell {
                seed,
                benchmark: &benchmark,
                skip,
                limit: tasks.tasks.len(),
                policy: &policy,
                sampling: ResolvedSampling {
                    group_size,
                    temperature: sampling.temperature,
                    top_k: sampling.top_k,
                    top_p: sampling.top_p,
                    min_p: sampling.min_p,
                    max_new_tokens: sampling.max_new_tokens,
                    stop: &sampling.stop,
                },
                aggregator: &aggregator,
                anchor: needs.anchor.then_some(ResolvedAnchor {
                    model: &anchor.name,
                    temperature: anchor.sampling.temperature,
                    top_k: anchor.sampling.top_k,
                    top_p: anchor.sampling.top_p,
                    min_p: anchor.sampling.min_p,
                    max_new_tokens: anchor.sampling.max_new_tokens,
                }),
                judge: judge
                    .as_ref()
                    .map(|judge| ResolvedJudge { model: &judge.name, settings: &judge.settings }),
                reward: (!reward.is_empty()).then_some(ResolvedReward { terms: &reward }),
                grader: GraderSettings { profile: Some(grader) },
                eval_judge: eval_judge.as_ref().map(|judge| &judge.settings),
                train: train.as_ref().map(|train| ResolvedTrain {
                    settings: &train.settings,
                    objective: &train.objective,
                }),
                held_out: held_out.as_ref().and_then(Tasks::resolved),
                validation: validation.as_ref().and_then(Tasks::resolved),
            };
            let settings = toml::to_string(&resolved).expect("settings are plain data");
            let inputs = StageInputs {
                tasks: &tasks,
                model: &model,
                sampling: &sampling,
                group_size,
                seed,
                aggregator: &aggregator,
                aggregator_prompt: prompt.as_ref(),
                anchor: &anchor,
                judge: judge.as_ref(),
                eval_judge: eval_judge.as_ref(),
                reward: &reward,
                grader,
            };
            let stages = Stages::new(&inputs)?;
            let mut cell = Cell {
                id: Digest::of(&[]),
                axes: names.clone(),
                seed,
                benchmark: benchmark_name.clone(),
                tasks: Rc::clone(&tasks),
                model_name: policy.model.clone(),
                policy_name: policy.model.clone(),
                model: model.clone(),
                sampling: sampling.clone(),
                group_size,
                aggregator: aggregator.clone(),
                aggregator_prompt: prompt.clone(),
                anchor: anchor.clone(),
                judge: judge.clone(),
                eval_judge: eval_judge.clone(),
                reward: reward.clone(),
                grader,
                stages,
                training: None,
                settings,
            };
            if let Some(train) = &train {
                let splits = [
                    (Split::HeldOut, held_out.as_ref().and_then(|split| split.tasks.as_ref())),
                    (Split::Validation, validation.as_ref().and_then(|s| s.tasks.as_ref())),
                ];
                let training = train_cell(&mut cell, train, &inputs, &splits)?;
                self.notices.extend(training.warnings(group_size, &sampling));
                cell.training = Some(Rc::new(training));
            }
            let rewards = cell.stages.rewards.as_ref().map_or("", |spec| spec.digest().as_str());
            let training = cell.training.as_ref().map_or("", |t| t.steps.digest().as_str());
            cell.id = Digest::of_parts([
                cell.settings.as_bytes(),
                cell.stages.grades.digest().as_str().as_bytes(),
                rewards.as_bytes(),
                training.as_bytes(),
            ]);
            cells.push(cell);
        }
        debug_assert!(!point.names.iter().any(String::is_empty), "axis values have names");
        Ok(cells)
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn top_level_keys() -> Vec<&'static str> {
    let others = ["endpoints", "extends", "matrix", "exclude", "include", CONTRAST];
    CELL_TABLES.into_iter().chain(others).collect()
}
