//! Checkpoints on disk: weights or adapters, the optimiser's state, and the progress of the run.
//!
//! A checkpoint is a folder `step-000012`:
//!
//! | file | contents |
//! |---|---|
//! | `weights.safetensors` | every trained parameter |
//! | `optimizer.safetensors` | both moments of each, as `first.NAME` and `second.NAME`; may be removed if no run resumes from it |
//! | `checkpoint.json` | the step, the number of updates, the initial model, digests of the files, and the caller's state |
//!
//! It is written under a temporary name and renamed when it is complete and synced, so a killed process
//! does not damage the previous one. Reading checks both digests first. All values are stored
//! bit-for-bit.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use preceptor_core::Digest;
use preceptor_models::{NamedTensors, Trainable, read_safetensors, write_safetensors};
use serde::{Deserialize, Serialize};

use crate::adamw::{Moments, OptimizerState};

const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const DESCRIPTION: &str = "checkpoint.json";
/// The version of the folder's layout.
const FORMAT: u32 = 1;
/// A counter that makes the temporary names of a process unique.
static NUM_WRITTEN: AtomicU64 = AtomicU64::new(0);

/// The description of a checkpoint, beside its values.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Description {
    format: u32,
    /// Number of steps of the training loop so far.
    pub step: u64,
    /// Number of updates of the weights so far.
    pub num_updates: u64,
    /// The digest of the initial weights.
    pub base: Digest,
    /// The caller's state: the settings of the loop, and what it needs to resume.
    pub state: serde_json::Value,
    weights: Digest,
    /// The digest of the file; none after its removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    optimizer: Option<Digest>,
}

/// A checkpoint that was read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The description of a checkpoint, beside its values.
    pub description: Description,
    /// The optimiser's state, unless it was removed.
    pub optimizer: Option<OptimizerState>,
}

/// Error for a checkpoint that can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file can't be written.
    #[error("write the checkpoint `{}`\nhint: the previous checkpoint is intact; free disk space and run again", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file can't be read.
    #[error("read the checkpoint `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file differs from the one that was written.
    #[error("read the checkpoint `{}`: {detail}\nhint: delete this folder to resume from the previous checkpoint", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The content found and the content expected.
        detail: String,
    },
    /// The checkpoint belongs to another model.
    #[error("read the checkpoint `{}`: found initial weights {found}, expected {expected}\nhint: it belongs to another model or other settings", path.display())]
    OtherModel {
        /// The folder.
        path: PathBuf,
        /// Digest of its initial weights.
        found: Digest,
        /// Digest of the initial weights of this run.
        expected: Digest,
    },
    /// Weights can't be written, or read into this model.
    #[error(transparent)]
    Model(#[from] preceptor_models::Error),
}

/// The checkpoints of one training run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Opens the checkpoints in `folder`, of which the last `keep` are kept (at least one).
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self { folder: folder.into(), keep: keep.max(1) }
    }

    /// Lists the steps that have a checkpoint, in order.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Read`]; a missing folder has no checkpoints.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let error = |source| CheckpointError::Read { path: self.folder.clone(), source };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(error(source)),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.map_err(error)?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-"));
            steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Returns the folder of a step's checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }

    /// Writes a checkpoint. An existing one is not changed.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Write`], [`CheckpointError::Read`] or [`CheckpointError::Model`]; older
    /// checkpoints are not changed then.
    pub fn write(
        &self,
        step: u64,
        base: &Digest,
        trainable: &Trainable,
        optimizer: &OptimizerState,
        state: serde_json::Value,
    ) -> Result<(), CheckpointError> {
        let path = self.path(step);
        if path.is_dir() {
            return Ok(());
        }
        let number = NUM_WRITTEN.fetch_add(1, Ordering::Relaxed);
        let partial = format!(".partial-{step:06}-{}-{number}", std::process::id());
        let partial = self.folder.join(partial);
        let written = self.write_into(&partial, step, base, trainable, optimizer, state);
        let renamed = written.and_then(|()| match fs::rename(&partial, &path) {
            // Another process has written the same checkpoint meanwhile.
            Err(_) if path.is_dir() => Ok(false),
            Err(source) => Err(CheckpointError::Write { path, source }),
            Ok(()) => Ok(true),
        });
        if !matches!(renamed, Ok(true)) {
            // Remove the incomplete folder.
            let _ = fs::remove_dir_all(&partial);
        }
        renamed.map(|_| ())
    }

    /// Removes all but the last checkpoints, and that of step `protected`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Write`] if one can't be removed.
    pub fn prune(&self, protected: Option<u64>) -> Result<(), CheckpointError> {
        let steps = self.steps()?;
        let old = &steps[..steps.len().saturating_sub(self.keep)];
        for step in old.iter().filter(|step| Some(**step) != protected) {
            let path = self.path(*step);
            fs::remove_dir_all(&path).map_err(|source| CheckpointError::Write { path, source })?;
        }
        Ok(())
    }

    fn write_into(
        &self,
        partial: &Path,
        step: u64,
        base: &Digest,
        trainable: &Trainable,
        optimizer: &OptimizerState,
        state: serde_json::Value,
    ) -> Result<(), CheckpointError> {
        fs::create_dir_all(partial)
            .map_err(|source| CheckpointError::Write { path: partial.to_owned(), source })?;
        let parameters = trainable.parameters();
        let weights = partial.join(WEIGHTS);
        write_safetensors(&weights, parameters.iter().map(|p| (&*p.name, &*p.shape, &*p.values)))?;
        let names: Vec<[String; 2]> = optimizer
            .moments
            .iter()
            .map(|moments| ["first", "second"].map(|which| format!("{which}.{}", moments.name)))
            .collect();
        let moments = optimizer.moments.iter().zip(&names).zip(parameters);
        let tensors = moments.flat_map(|((moments, [first, second]), parameter)| {
            let shape = &*parameter.shape;
            [(&**first, shape, &*moments.first), (&**second, shape, &*moments.second)]
        });
        let moments_path = partial.join(OPTIMIZER);
        write_safetensors(&moments_path, tensors)?;
        let description = Description {
            format: FORMAT,
            step,
            num_updates: optimizer.num_updates,
            base: base.clone(),
            state,
            weights: digest(&weights)?,
            optimizer: Some(digest(&moments_path)?),
        };
        describe(&partial.join(DESCRIPTION), &description)?;
        sync(&weights)?;
        sync(&moments_path)
    }

    /// Lists the steps with a checkpoint that training can resume from, in order: those with the
    /// optimiser's state.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Read`] or [`CheckpointError::Damaged`].
    pub fn resumable_steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let mut steps = Vec::new();
        for step in self.steps()? {
            if self.description(step)?.optimizer.is_some() {
                steps.push(step);
            }
        }
        Ok(steps)
    }

    /// Removes the optimiser's state from the checkpoint of a step; the weights stay.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if it can't be read or changed.
    pub fn forget_optimizer(&self, step: u64) -> Result<(), CheckpointError> {
        let folder = self.path(step);
        let description = Description { optimizer: None, ..self.description(step)? };
        let partial = folder.join(format!(".{DESCRIPTION}"));
        describe(&partial, &description)?;
        let path = folder.join(DESCRIPTION);
        fs::rename(&partial, &path).map_err(|source| CheckpointError::Write { path, source })?;
        let path = folder.join(OPTIMIZER);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    fn description(&self, step: u64) -> Result<Description, CheckpointError> {
        let path = self.path(step).join(DESCRIPTION);
        let text = fs::read(&path)
            .map_err(|source| CheckpointError::Read { path: path.clone(), source })?;
        let description: Description =
            serde_json::from_slice(&text).map_err(|error| damaged(&path, error.to_string()))?;
        if description.format != FORMAT {
            let detail = format!("found format {}, expected {FORMAT}", description.format);
            return Err(damaged(&path, detail));
        }
        Ok(description)
    }

    /// Reads the checkpoint of a step into `trainable`.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Read`], [`CheckpointError::Damaged`], [`CheckpointError::OtherModel`] or
    /// [`CheckpointError::Model`]; `trainable` is not changed then.
    pub fn read(
        &self,
        step: u64,
        base: &Digest,
        trainable: &mut Trainable,
    ) -> Result<Checkpoint, CheckpointError> {
        let folder = self.path(step);
        let description = self.description(step)?;
        if description.base != *base {
            let (found, expected) = (description.base, base.clone());
            return Err(CheckpointError::OtherModel { path: folder, found, expected });
        }
        let checked = |name: &str, expected: &Digest| {
            let path = folder.join(name);
            let found = digest(&path)?;
            if found != *expected {
                return Err(damaged(&path, format!("its digest is {found}, expected {expected}")));
            }
            Ok(read_safetensors(&path)?)
        };
        let weights = checked(WEIGHTS, &description.weights)?;
        let moments = match &description.optimizer {
            Some(digest) => Some(checked(OPTIMIZER, digest)?),
            None => None,
        };
        let num_updates = description.num_updates;
        let state = |moments| {
            let moments = moments_of(trainable, moments)
                .map_err(|detail| damaged(&folder.join(OPTIMIZER), detail))?;
            Ok::<_, CheckpointError>(OptimizerState { num_updates, moments })
        };
        let optimizer = moments.map(state).transpose()?;
        trainable.set_values(weights)?;
        Ok(Checkpoint { description, optimizer })
    }
}

/// Lists both moments of every parameter.
fn moments_of(trainable: &Trainable, mut tensors: NamedTensors) -> Result<Vec<Moments>, String> {
    let mut found = Vec::with_capacity(trainable.parameters().len());
    for parameter in trainable.parameters() {
        let mut take = |which: &str| {
            let name = format!("{which}.{}", parameter.name);
            match tensors.remove(&name) {
                Some((shape, values)) if shape == parameter.shape => Ok(values),
                _ => Err(format!("`{name}` is missing or misshapen")),
            }
        };
        let (first, second) = (take("first")?, take("second")?);
        found.push(Moments { name: parameter.name.clone(), first, second });
    }
    Ok(found)
}

fn damaged(path: &Path, detail: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), detail }
}

/// Writes a description and syncs it to disk.
fn describe(path: &Path, description: &Description) -> Result<(), CheckpointError> {
    let text = serde_json::to_string_pretty(description).expect("plain data");
    fs::write(path, text)
        .map_err(|source| CheckpointError::Write { path: path.to_owned(), source })?;
    sync(path)
}

fn sync(path: &Path) -> Result<(), CheckpointError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}

fn digest(path: &Path) -> Result<Digest, CheckpointError> {
    let bytes =
        fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    Ok(Digest::of(&bytes))
}
