//! The `[train]` table: reading and checking it, and from a cell with the initial policy to one with the
//! policy after training.

use std::rc::Rc;

use preceptor_benchmarks::TaskSet;
use preceptor_core::{Sampling, Split};
use preceptor_endpoints::{Error as EndpointError, RolloutServersConfig};
use preceptor_trainer::objective::grpo::LogprobTemperature;
use serde::Deserialize;
use toml::{Table, Value};

use crate::Error;
use crate::catalog::ObjectiveSettings;
use crate::error::ManifestError;
use crate::manifest::document::Document;
use crate::manifest::read::{names_of, optional_table, read, read_kind};
use crate::manifest::train_settings::{Metric, OldLogprobs, Train, TrainSettings};
use crate::plan::cell::Evaluation;
use crate::plan::cell::Training;
use crate::plan::cell::{Cell, RolloutDemand};
use crate::plan::stages::{StageInputs, Stages};

/// Reads `[train]`: `kind` names the objective, whose own settings are in `[train.objective]`.
pub(crate) fn read_train(
    document: &Document,
    table: &mut Table,
) -> Result<Option<Train>, ManifestError> {
    let rollouts = read_rollouts(document, table)?;
    if !table.contains_key("train") {
        if rollouts.is_some() {
            let mut error = document.error_at("rollouts", "`[rollouts]`: there is no `[train]`");
            error.hint = Some("it names servers that sample while a policy is trained; for other rollouts, name an endpoint in `policy.model`".to_owned());
            return Err(error);
        }
        return Ok(None);
    }
    let mut train = optional_table(document, table, "train")?;
    let kind = train.remove("kind");
    let mut objective = match train.remove("objective") {
        None => Table::new(),
        Some(Value::Table(objective)) => objective,
        Some(_) => {
            let detail = "`train.objective` is a table: write `[train.objective]`";
            return Err(document.error_at("train.objective", detail));
        }
    };
    let kinds = names_of(ObjectiveSettings::ALL);
    // The kind is in `[train]`, so errors about it point there.
    let mut named = Table::new();
    named.extend(kind.clone().map(|kind| ("kind".to_owned(), kind)));
    let _: Kind = read_kind(document, "train", named, &[], &kinds)?;
    objective.extend(kind.map(|kind| ("kind".to_owned(), kind)));
    let objective: ObjectiveSettings =
        read(document, "train.objective", Value::Table(objective), &[])?;
    let settings: TrainSettings =
        read(document, "train", Value::Table(train), &["kind", "objective"])?;
    document.check("train", settings.check())?;
    document.check("train.objective", objective.check())?;
    Ok(Some(Train { settings, objective, rollouts }))
}

/// Reads `[rollouts]`.
fn read_rollouts(
    document: &Document,
    table: &mut Table,
) -> Result<Option<RolloutServersConfig>, ManifestError> {
    if !table.contains_key("rollouts") {
        return Ok(None);
    }
    let rollouts = optional_table(document, table, "rollouts")?;
    let config: RolloutServersConfig = read(document, "rollouts", Value::Table(rollouts), &[])?;
    config.validate().map_err(|error| {
        let key = match &error {
            EndpointError::BadSetting { key, .. } => format!("rollouts.{key}"),
            _ => "rollouts".to_owned(),
        };
        document.error_at(&key, error.to_string())
    })?;
    Ok(Some(config))
}

/// Refuses served rollouts that the training run or the sampling does not allow.
fn check_rollouts(
    document: &Document,
    train: &Train,
    sampling: &Sampling,
) -> Result<(), ManifestError> {
    let Some(rollouts) = &train.rollouts else { return Ok(()) };
    let refuse = |key: &str, detail: String, hint: &str| {
        let mut error = document.error_at(key, detail);
        error.hint = Some(hint.to_owned());
        Err(error)
    };
    let ObjectiveSettings::Grpo(config) = &train.objective else {
        let detail = "`[rollouts]`: `train.kind = \"sft\"` samples no rollouts while it trains";
        return refuse("rollouts", detail.to_owned(), "leave `[rollouts]` out");
    };
    if train.settings.old_logprobs == Some(OldLogprobs::Sampler) {
        let detail = "`train.old-logprobs = \"sampler\"`: with `[rollouts]` they are recomputed";
        return refuse("train.old-logprobs", detail.to_owned(), "leave it out");
    }
    if config.temperature == LogprobTemperature::One && sampling.temperature != 1.0 {
        let detail = format!(
            "`train.objective.temperature = 1.0`: servers return log-probabilities at `sampling.temperature = {}`",
            sampling.temperature
        );
        let hint = "set `train.objective.temperature = \"sampling\"`";
        return refuse("train.objective.temperature", detail, hint);
    }
    rollouts.kind().check(sampling).map_err(|detail| document.error_at("rollouts", detail))
}

/// The `kind` of a table, and no other key.
#[derive(Deserialize)]
struct Kind {
    #[expect(dead_code, reason = "that it reads is all that is asked")]
    kind: String,
}

/// Refuses a training run that is impossible.
pub(crate) fn check_train(
    document: &Document,
    train: &Train,
    is_remote: bool,
    num_prompts: usize,
) -> Result<(), ManifestError> {
    let settings = &train.settings;
    check_correction(document, train)?;
    if is_remote {
        let mut error = document.error_at("policy.model", "an endpoint can't be trained");
        error.hint = Some("name a model that runs here".to_owned());
        return Err(error);
    }
    if settings.prompts_per_step as usize > num_prompts {
        let key = "train.prompts-per-step";
        let detail = format!(
            "`{key} = {}`: the benchmark has {num_prompts} prompts",
            settings.prompts_per_step
        );
        return Err(document.error_at(key, detail));
    }
    if settings.early_stopping.is_some() && settings.evaluate_every == 0 {
        let key = "train.early-stopping";
        let mut error =
            document.error_at(key, format!("`{key}`: no policy on the way is evaluated"));
        error.hint = Some("set `train.evaluate-every`".to_owned());
        return Err(error);
    }
    Ok(())
}

/// Refuses a correction for the sampler without the log-probabilities that it compares.
fn check_correction(document: &Document, train: &Train) -> Result<(), ManifestError> {
    let ObjectiveSettings::Grpo(config) = &train.objective else { return Ok(()) };
    let is_active = config.sampler_correction.is_active();
    if is_active && train.settings.old_logprobs == Some(OldLogprobs::Sampler) {
        let key = "train.old-logprobs";
        let detail = format!(
            "`{key} = \"sampler\"`: `train.objective.sampler-correction` compares the sampler's log-probabilities with recomputed ones"
        );
        let mut error = document.error_at(key, detail);
        error.hint = Some("set it to \"recompute\", or leave it out".to_owned());
        return Err(error);
    }
    Ok(())
}

/// Refuses a policy gradient that the sampling makes impossible.
pub(crate) fn check_sampling(
    document: &Document,
    train: &Train,
    sampling: &Sampling,
) -> Result<(), ManifestError> {
    check_rollouts(document, train, sampling)?;
    let ObjectiveSettings::Grpo(config) = &train.objective else { return Ok(()) };
    let is_sampling = config.temperature == LogprobTemperature::Sampling;
    if sampling.temperature == 0.0 && is_sampling {
        let key = "sampling.temperature";
        let detail = format!("`{key} = 0`: `grpo` compares rollouts, and at 0 they are all equal");
        let mut error = document.error_at(key, detail);
        error.hint = Some("sample at a temperature above 0".to_owned());
        return Err(error);
    }
    if config.renormalise && !is_sampling && sampling.temperature != 1.0 {
        let key = "train.objective.renormalise";
        let temperature = sampling.temperature;
        let detail = format!(
            "`{key}` scores tokens as they were sampled, at temperature {temperature}, but `train.objective.temperature = 1.0`"
        );
        let mut error = document.error_at(key, detail);
        error.hint = Some("set `train.objective.temperature = \"sampling\"`".to_owned());
        return Err(error);
    }
    Ok(())
}

/// Refuses splits that are named but missing, and early stopping without its metric. `splits` tells
/// which the manifest has.
pub(crate) fn check_splits(
    document: &Document,
    train: &Train,
    splits: &[(Split, bool)],
) -> Result<(), ManifestError> {
    let settings = &train.settings;
    let is_there = |split: Split| splits.contains(&(split, true));
    let named = settings.evaluate.iter().flatten().map(|split| ("train.evaluate", *split));
    let mut named = named.chain([("train.final-split", settings.final_split)]);
    if let Some((key, split)) = named.find(|(_, split)| !is_there(*split)) {
        let name = split.name();
        let detail = format!("`{key}` names `{name}`, but there is no table `[{name}]`");
        let mut error = document.error_at(key, detail);
        error.hint = Some(format!("add `[{name}]`, or leave `{name}` out"));
        return Err(error);
    }
    if settings.final_split == Split::Validation {
        let key = "train.final-split";
        let detail = format!("`{key} = \"validation\"`: must be `test-time` or `held-out`");
        return Err(document.error_at(key, detail));
    }
    let Some(stopping) = &settings.early_stopping else { return Ok(()) };
    let key = "train.early-stopping";
    if !is_there(Split::Validation) {
        let detail = format!("`{key}` needs `[validation]`, which is not there");
        let mut error = document.error_at(key, detail);
        error.hint = Some("name the prompts whose metric ends the training run".to_owned());
        return Err(error);
    }
    let is_evaluated = |splits: &Vec<Split>| splits.contains(&Split::Validation);
    let evaluates = settings.evaluate.as_ref().is_none_or(is_evaluated);
    if stopping.metric == Metric::Score && !evaluates {
        let detail =
            format!("`{key}` compares scores on `validation`, which `train.evaluate` lacks");
        let mut error = document.error_at("train.evaluate", detail);
        error.hint = Some("add \"validation\" to `train.evaluate`".to_owned());
        return Err(error);
    }
    if stopping.metric == Metric::Loss && !matches!(train.objective, ObjectiveSettings::Sft(_)) {
        let key = "train.early-stopping.metric";
        let detail = format!("`{key} = \"loss\"`: only `kind = \"sft\"` has targets");
        let mut error = document.error_at(key, detail);
        error.hint = Some("leave it at \"score\"".to_owned());
        return Err(error);
    }
    Ok(())
}

/// Turns `cell`, which has the initial policy, into one of the policy after training.
pub(crate) fn train_cell(
    cell: &mut Cell,
    train: &Train,
    inputs: &StageInputs<'_>,
    splits: &[(Split, Option<&Rc<TaskSet>>)],
) -> Result<Training, Error> {
    let settings = &train.settings;
    let mut training = Training::new(train, inputs)?;
    let mut known = vec![(Split::TestTime, Rc::clone(&cell.tasks))];
    known.extend(splits.iter().filter_map(|(split, tasks)| Some((*split, Rc::clone((*tasks)?)))));
    let is_evaluated =
        |split| settings.evaluate.as_ref().is_none_or(|splits| splits.contains(&split));
    cell.stages.rewards = None;
    training.untrained = Some(Rc::new(cell.clone()));
    for step in training.evaluated_steps() {
        for (split, tasks) in known.iter().filter(|(split, _)| is_evaluated(*split)) {
            let model = training.identity(step);
            let tasks = &first_tasks(tasks, settings.evaluation_prompts);
            let stages =
                Stages::new(&StageInputs { tasks, model: &model, reward: &[], ..*inputs })?;
            let group_size = settings.evaluation_rollouts;
            let policy_name = training.policy_name(&cell.model_name, &model);
            let tasks = Rc::clone(tasks);
            let cell = Cell { tasks, policy_name, model, stages, ..cell.clone() };
            let demand = RolloutDemand { cell, group_size };
            training.evaluations.push(Evaluation { step, split: *split, demand });
        }
    }
    let tasks_of = |wanted| known.iter().find(|(split, _)| *split == wanted).map(|(_, t)| t);
    let stopping = settings.early_stopping.as_ref();
    if let Some(tasks) = tasks_of(Split::Validation)
        && stopping.is_some_and(|stopping| stopping.metric == Metric::Loss)
    {
        let tasks = first_tasks(tasks, settings.evaluation_prompts);
        let inputs = StageInputs { tasks: &tasks, reward: &[], ..*inputs };
        let stages = Stages::new(&inputs)?;
        training.measure_losses(Cell { tasks, stages, ..cell.clone() })?;
    }
    training.choose()?;
    if let Some(tasks) = tasks_of(settings.final_split) {
        cell.tasks = Rc::clone(tasks);
    }
    cell.take_policy(&training, training.planned_identity())?;
    Ok(training)
}

/// Returns the first `num` tasks; with 0, all.
fn first_tasks(tasks: &Rc<TaskSet>, num: u32) -> Rc<TaskSet> {
    match num as usize {
        0 => Rc::clone(tasks),
        num if num >= tasks.tasks.len() => Rc::clone(tasks),
        num => Rc::new(TaskSet { tasks: tasks.tasks[..num].to_vec(), ..(**tasks).clone() }),
    }
}
