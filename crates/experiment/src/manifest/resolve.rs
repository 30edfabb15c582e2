//! From a document to a plan.

use std::collections::{BTreeMap, BTreeSet};

use preceptor_core::CellFacts;
use preceptor_files::Files;
use serde::Deserialize;
use toml::{Table, Value};

use crate::Error;
use crate::manifest::contrasts::{CONTRAST, check_contrasts, take_contrasts};
use crate::manifest::document::Document;
use crate::manifest::estimate_settings::EstimateSettings;
use crate::manifest::grid::Grid;
use crate::manifest::launch::take_launch;
use crate::manifest::point::{PointTables, PointTasks, ResolvedPoint};
use crate::manifest::read::{optional, read};
use crate::manifest::roles;
use crate::manifest::tasks::{TaskTables, Tasks};
use crate::models::directory::ModelDirectory;
use crate::plan::cell::Cell;
use crate::plan::resolved::Plan;
use crate::plan::stages::needs_of;

/// Tables that describe a cell. All other top-level tables describe the experiment.
const CELL_TABLES: [&str; 13] = [
    "benchmark",
    "held-out",
    "validation",
    "train",
    "rollouts",
    "policy",
    "sampling",
    "aggregator",
    "anchor",
    "judge",
    "reward",
    "grader",
    "eval-judge",
];

/// Settings that the command line adds to a manifest.
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

/// Resolves a document into a plan.
///
/// # Errors
///
/// [`Error::Manifest`] pointing at what can't be used; errors of files and models that are needed
/// and missing.
pub fn resolve(
    document: &Document,
    files: &Files,
    models: &mut dyn ModelDirectory,
    options: ResolveOptions,
) -> Result<Plan, Error> {
    let mut table = document.table().clone();
    // Read by `endpoints`, before there is anything to resolve.
    table.remove("endpoints");
    let launch = take_launch(document, &mut table)?;
    let grid = Grid::take(&mut table, document)?;
    let contrasts = take_contrasts(document, &mut table)?;
    let estimate = optional(&mut table, "estimate");
    let estimate: EstimateSettings = read(document, "estimate", estimate, &[])?;
    document.check("estimate", estimate.check())?;
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
            let detail =
                format!("seed {seed} is given twice: it would only repeat its own rollouts");
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
        cells.extend(resolver.resolve_point(table, &names, &seeds)?);
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
        settings: toml::to_string_pretty(&described(document)).expect("it was TOML"),
        contrasts,
        estimate,
        launch,
    };
    check_contrasts(document, &plan)?;
    Ok(plan)
}

/// Returns the manifest without the resources of its tasks, which change no record.
fn described(document: &Document) -> Table {
    let mut table = document.table().clone();
    table.remove("launch");
    table
}

struct Resolver<'a> {
    document: &'a Document,
    models: &'a mut dyn ModelDirectory,
    tables: TaskTables<'a>,
    notices: BTreeSet<String>,
}

impl Resolver<'_> {
    /// Resolves the cells of one point of the matrix, one for each seed.
    fn resolve_point(
        &mut self,
        table: Table,
        axes: &BTreeMap<String, String>,
        seeds: &[u64],
    ) -> Result<Vec<Cell>, Error> {
        let tables = PointTables::read(self.document, table)?;
        let Some(tasks) = self.tasks(&tables, seeds.len() as u64)? else { return Ok(Vec::new()) };
        let point = self.settle(tables, tasks, axes)?;
        point.check_training(self.document, self.models.is_remote(&point.policy.model))?;
        seeds.iter().map(|seed| point.cell(*seed, &mut self.notices)).collect()
    }

    /// Loads the tasks of a point; none where they are left out.
    fn tasks(&mut self, tables: &PointTables, num_cells: u64) -> Result<Option<PointTasks>, Error> {
        let PointTables { benchmark, held_out, validation, train, policy, .. } = tables;
        let Tasks { settings, skip, wording, if_available, tasks } =
            self.tables.tasks("benchmark", benchmark.clone(), num_cells)?;
        let Some(tasks) = tasks else { return Ok(None) };
        let is_trained = train.is_some();
        let mut split = |key: &str, table: &Option<Table>| {
            self.tables.split(key, table.clone(), benchmark, &tasks, is_trained)
        };
        let held_out = split("held-out", held_out)?;
        let validation = split("validation", validation)?;
        let mut tasks = PointTasks { settings, skip, wording, tasks, held_out, validation };
        if !policy.thinking.is_off() {
            self.check_thinking(&policy.model)?;
            tasks.turn_thinking_on();
        }

        let model = self.models.identify(&policy.model)?;
        let Some(chats) = tasks.chats().filter(|_| !self.models.takes_chats(&model)) else {
            return Ok(Some(tasks));
        };
        let detail = format!(
            "`{}` has no chat template, which the prompts of `{}` need",
            policy.model, chats.name
        );
        if if_available {
            self.tables.leave_out(format!("benchmark {}", chats.name), num_cells, detail);
            return Ok(None);
        }
        let mut error = self.document.error_at("policy.model", detail);
        error.hint = Some(
            "take an instruction-tuned model, or plain prompts: `arithmetic`, or `benchmark.shots = 4` where answers are final"
                .to_owned(),
        );
        Err(error.into())
    }

    /// Refuses thinking of a model that can't be told to think.
    fn check_thinking(&mut self, model: &str) -> Result<(), Error> {
        if self.models.can_think(model)? {
            return Ok(());
        }
        let is_remote = self.models.is_remote(model);
        let (detail, hint) = if is_remote {
            (
                format!(
                    "`policy.thinking = \"on\"`: `{model}` is an endpoint, which has its own switch"
                ),
                format!(
                    "set it there, for example `[endpoints.{model}] extra = {{ chat_template_kwargs = {{ enable_thinking = true }} }}`"
                ),
            )
        } else {
            (
                format!("`policy.thinking = \"on\"`: the chat template of `{model}` has no switch for thinking"),
                "take a model whose template reads `enable_thinking`, such as Qwen 3, or leave the key out"
                    .to_owned(),
            )
        };
        let mut error = self.document.error_at("policy.thinking", detail);
        error.hint = Some(hint);
        Err(error.into())
    }

    /// Makes every value of a point explicit and finds the models of its roles.
    fn settle(
        &mut self,
        tables: PointTables,
        tasks: PointTasks,
        axes: &BTreeMap<String, String>,
    ) -> Result<ResolvedPoint, Error> {
        let Self { document, models, .. } = self;
        let PointTables { train, policy, mut aggregator, mut reward, .. } = tables;
        let task_set = &tasks.tasks;
        let grader = tables.grader.profile.unwrap_or(task_set.grader);
        let has_final_answers = task_set.grader.profile().is_some();
        if grader.profile().is_some() != has_final_answers {
            let detail = format!(
                "`grader.profile = \"{grader}\"` does not fit `{}`, whose own is `{}`",
                task_set.name, task_set.grader
            );
            return Err(document.error_at("grader.profile", detail).into());
        }
        let defaults = models.sampling_defaults(&policy.model);
        let resolved = tables.sampling.resolve(defaults, &task_set.stop);
        let (group_size, sampling) = document.check("sampling", resolved)?;

        let has_own_limit = tables.anchor.max_new_tokens.is_some();
        let facts = CellFacts {
            has_final_answers,
            scores_form: tasks.settings.scores_form(),
            rollout_tokens: (!has_own_limit).then_some(sampling.max_new_tokens),
        };
        aggregator.complete(&facts);
        for term in &mut reward {
            term.complete(&facts);
        }
        let aggregator_prompt =
            roles::check_aggregator(document, &aggregator, has_final_answers, &task_set.name)?;
        let needs = aggregator.entry().needs.union(needs_of(&reward));
        let anchor =
            roles::anchor(document, *models, &tables.anchor, &policy.model, &sampling, needs)?;
        let judge =
            if needs.judge { Some(roles::judge(document, *models, tables.judge)?) } else { None };
        if needs.grades && judge.as_ref().is_some_and(|judge| !judge.settings.grades()) {
            return Err(roles::no_grades(document, axes).into());
        }
        let eval_judge = if has_final_answers {
            None
        } else {
            Some(roles::eval_judge(document, *models, tables.eval_judge, &task_set.name)?)
        };
        Ok(ResolvedPoint {
            axes: axes.clone(),
            model: models.identify(&policy.model)?,
            tasks,
            train,
            policy,
            group_size,
            sampling,
            aggregator,
            aggregator_prompt,
            needs,
            anchor,
            judge,
            reward,
            grader,
            eval_judge,
        })
    }
}

fn top_level_keys() -> Vec<&'static str> {
    let others =
        ["endpoints", "launch", "estimate", "extends", "matrix", "exclude", "include", CONTRAST];
    CELL_TABLES.into_iter().chain(others).collect()
}
