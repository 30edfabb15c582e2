//! A trained policy as files that other programs load.

use std::path::{Path, PathBuf};

use preceptor_store::Store;

use crate::Error;
use crate::models::loader::ModelLoader;
use crate::plan::resolved::Plan;
use crate::progress::Progress;
use crate::run::session::Session;
use crate::run::summary::RunOptions;
use crate::training::run::{TrainRun, fresh};

/// A policy that was written as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedPolicy {
    /// The cell, for people.
    pub label: String,
    /// The step whose weights they are.
    pub step: u64,
    /// The folder.
    pub folder: PathBuf,
}

/// Writes the policy that the only cell of `plan` has trained into `folder`: the whole model as a
/// Hugging Face folder, or with `only_adapter` its adapter as peft has it.
///
/// # Errors
///
/// [`Error::Export`] if the plan is not one cell with a finished training run, if `folder` exists, or if
/// an adapter is wanted of a model that has none; errors of reading and writing.
pub fn export(
    plan: &Plan,
    store: &Store,
    models: &mut dyn ModelLoader,
    folder: &Path,
    only_adapter: bool,
    progress: &mut dyn Progress,
) -> Result<ExportedPolicy, Error> {
    let refuse = |detail: String, hint: &'static str| Err(Error::Export { detail, hint });
    let [cell] = plan.cells() else {
        let detail = format!("there are {} cells", plan.cells().len());
        return refuse(detail, "choose one with `--only AXIS=VALUE` and `--only seed=N`");
    };
    let Some(training) = &cell.training else {
        return refuse(format!("`{}` trains nothing", cell.label()), "it has no `[train]`");
    };
    if folder.exists() {
        return refuse(format!("`{}` is there already", folder.display()), "name a new folder");
    }
    if only_adapter && training.settings.lora.is_none() {
        return refuse("all weights are trained".to_owned(), "leave out `--adapter`");
    }
    let session = Session::new(models, store, RunOptions::default(), progress);
    let run = TrainRun { cell, training, session: &session };
    let Some(step) = run.course().result()? else {
        return refuse("the training is not finished".to_owned(), "`preceptor run` finishes it");
    };
    let mut model = session.load(&cell.model_name)?;
    let mut trainable = fresh(&model, training, cell.seed)?;
    if step > 0 {
        run.read_checkpoint(step, &mut trainable)?;
    }
    if only_adapter {
        trainable.save_adapter(folder, &cell.model_name)?;
    } else {
        model.set_replicas(trainable.merged(), training.identity(step).weights);
        model.save(folder)?;
    }
    Ok(ExportedPolicy { label: cell.label(), step, folder: folder.to_owned() })
}
