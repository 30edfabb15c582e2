//! From a cell with the initial policy to one with the policy after training.

use std::rc::Rc;

use preceptor_benchmarks::TaskSet;
use preceptor_core::Digest;

use super::evaluation::{Evaluation, Split};
use super::settings::{Train, Training};
use crate::Error;
use crate::document::Document;
use crate::error::ManifestError;
use crate::plan::{Cell, RolloutDemand};
use crate::stages::{StageInputs, Stages};

/// Refuses a training that can't be.
pub(crate) fn check_train(
    document: &Document,
    train: &Train,
    is_remote: bool,
    num_prompts: usize,
) -> Result<(), ManifestError> {
    let settings = &train.settings;
    if is_remote {
        let mut error = document.error_at("policy.model", "an endpoint can't be trained");
        error.hint = Some("name a model that runs here".to_owned());
        return Err(error);
    }
    if settings.prompts_a_step as usize > num_prompts {
        let key = "train.prompts-a-step";
        let detail = format!(
            "`{key} = {}`: the benchmark has {num_prompts} prompts",
            settings.prompts_a_step
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

/// Makes `cell`, which has the initial policy, one of the policy after training.
pub(crate) fn train_cell(
    cell: &mut Cell,
    train: &Train,
    inputs: &StageInputs<'_>,
    splits: &[(Split, Option<&Rc<TaskSet>>)],
) -> Result<Training, Error> {
    let mut training = Training::new(train, inputs)?;
    let mut evaluated = vec![(Split::TestTime, Rc::clone(&cell.tasks))];
    evaluated
        .extend(splits.iter().filter_map(|(split, tasks)| Some((*split, Rc::clone((*tasks)?)))));
    let validation = evaluated.iter().find(|(split, _)| *split == Split::Validation);
    let validation = validation.map(|(_, tasks)| {
        let ids = tasks.tasks.iter().map(|task| task.prompt.id.as_str().as_bytes());
        let ids = Digest::of_parts(ids);
        let parts = [ids.as_str(), tasks.prompts_digest.as_str(), tasks.labels_digest.as_str()];
        Digest::of_parts(parts.map(str::as_bytes))
    });
    for step in training.evaluated_steps() {
        for (split, tasks) in &evaluated {
            let model = training.identity(step);
            let stages =
                Stages::new(&StageInputs { tasks, model: &model, reward: &[], ..*inputs })?;
            let group_size = train.settings.evaluation_rollouts;
            let policy_name = training.policy_name(&cell.model_name, &model);
            let tasks = Rc::clone(tasks);
            let cell = Cell { tasks, policy_name, model, stages, ..cell.clone() };
            let demand = RolloutDemand { cell, group_size };
            training.evaluations.push(Evaluation { step, split: *split, demand });
        }
    }
    cell.stages.rewards = None;
    training.untrained = Some(Rc::new(cell.clone()));
    cell.model = training.final_identity(validation.as_ref());
    cell.policy_name = training.policy_name(&cell.model_name, &cell.model);
    cell.stages = Stages::new(&StageInputs { model: &cell.model, reward: &[], ..*inputs })?;
    Ok(training)
}
