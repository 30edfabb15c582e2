//! Errors that stop an experiment.

use std::fmt;

use preceptor_core::PortError;

/// Error for a part of a manifest that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// File and line, or `--set`.
    pub location: String,
    /// The line itself, with its number, if there is one.
    pub excerpt: Option<String>,
    /// The wrong key and value.
    pub detail: String,
    /// Allowed values, or advice.
    pub hint: Option<String>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "understand {}: {}", self.location, self.detail)?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest can't be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No cell is left to run.
    #[error("plan `{experiment}`: no cell is left{}", reasons.iter().map(|r| format!("\n- {r}")).collect::<String>())]
    NoCells {
        /// Name of the experiment.
        experiment: String,
        /// Reason for each part that was left out.
        reasons: Vec<String>,
    },
    /// Rollouts that must be there are not.
    #[error(
        "use stored rollouts of {label}: {num_missing} are not in the store\nhint: `preceptor run` samples them"
    )]
    NoRollouts {
        /// Benchmark, model and seed.
        label: String,
        /// Number of missing rollouts.
        num_missing: u64,
    },
    /// Two conditions can't be compared.
    #[error("compare `{a}` with `{b}`: {detail}")]
    NotComparable {
        /// The first selection.
        a: String,
        /// The second.
        b: String,
        /// Reason and advice.
        detail: String,
    },
    /// A model or data file is missing or wrong.
    #[error(transparent)]
    Files(#[from] preceptor_files::Error),
    /// A benchmark can't be loaded.
    #[error(transparent)]
    Benchmark(#[from] preceptor_benchmarks::Error),
    /// A model can't be loaded.
    #[error(transparent)]
    Model(#[from] preceptor_models::Error),
    /// A model that does not run in this process can't be trained.
    #[error("train `{name}`: it does not run here\nhint: name a model of the registry, or a path")]
    NotHere {
        /// Name of the model.
        name: String,
    },
    /// A training step failed.
    #[error("train `{label}`, step {step}")]
    Step {
        /// The cell.
        label: String,
        /// The step, from 1.
        step: u64,
        /// Cause.
        #[source]
        source: preceptor_trainer::Error,
    },
    /// A training run can't begin.
    #[error(transparent)]
    Trainer(#[from] preceptor_trainer::Error),
    /// A checkpoint can't be written or read.
    #[error(transparent)]
    Checkpoint(#[from] preceptor_trainer::CheckpointError),
    /// A rollout server has other weights than it was given.
    #[error(
        "check the weights `{version}` of rollout server {url}: log-probabilities of a probe differ from the trainer's by {gap:.3} nats on average, expected at most {most}\nhint: the server must serve the base model of the training run; if its number format is coarse, raise `rollouts.max-logprob-gap`"
    )]
    OtherWeights {
        /// The server.
        url: String,
        /// Name of the weights.
        version: String,
        /// Mean distance in nats.
        gap: f64,
        /// The largest distance that is allowed.
        most: f64,
    },
    /// A rollout server returns log-probabilities at temperature 1.
    #[error(
        "use rollout server {url}: it returns log-probabilities at temperature 1, but `sampling.temperature = {temperature}`\nhint: start vLLM with `--logprobs-mode processed_logprobs`, or sample at temperature 1"
    )]
    RawLogprobs {
        /// The server.
        url: String,
        /// The sampling temperature.
        temperature: f64,
    },
    /// A trained policy can't be written.
    #[error("export the policy: {detail}\nhint: {hint}")]
    Export {
        /// Reason.
        detail: String,
        /// Advice.
        hint: &'static str,
    },
    /// No record, or more than one, has a key.
    #[error("show `{key}`: {detail}\nhint: {hint}")]
    Show {
        /// The key.
        key: String,
        /// The fault.
        detail: String,
        /// Keys or stages to choose from.
        hint: String,
    },
    /// A file of metrics can't be written.
    #[error("write `{path}`")]
    Events {
        /// The file.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] preceptor_store::Error),
    /// A prompt of the user's own can't be used.
    #[error(transparent)]
    Prompt(#[from] preceptor_text::TemplateError),
    /// An endpoint can't be used.
    #[error(transparent)]
    Endpoint(#[from] preceptor_endpoints::Error),
    /// A component failed while it ran.
    #[error(transparent)]
    Port(PortError),
    /// The run was asked to stop.
    #[error(
        "the run was asked to stop\nhint: everything so far is stored; the same command resumes"
    )]
    Stopped,
    /// A file of responses can't be read.
    #[error("read `{path}`")]
    ReadResponses {
        /// The file.
        path: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A line of a file of responses can't be used.
    #[error("read line {line} of `{path}`: {detail}")]
    Responses {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The wrong value and the allowed ones.
        detail: String,
    },
}

impl From<PortError> for Error {
    /// Takes an interruption out of the port that carried it.
    fn from(error: PortError) -> Self {
        match error {
            PortError::Stopped(source) | PortError::Failed { source, .. }
                if source.downcast_ref::<Self>().is_some_and(Self::is_interruption) =>
            {
                *source.downcast().expect("its type was checked above")
            }
            error => Self::Port(error),
        }
    }
}

impl Error {
    /// Returns true if the run ends here through no fault of its own: it was asked to stop, or another
    /// process has taken its work over.
    pub(crate) fn is_interruption(&self) -> bool {
        matches!(self, Self::Stopped) || self.is_claim_lost()
    }

    /// Returns true if another process has taken over the work of this one.
    pub(crate) fn is_claim_lost(&self) -> bool {
        matches!(self, Self::Store(preceptor_store::Error::ClaimLost { .. }))
    }

    /// Returns true if the user's input caused the error, not this machine.
    pub fn is_users_input(&self) -> bool {
        use preceptor_files::Error as Files;
        use preceptor_models::Error as Models;
        match self {
            Self::Manifest(_)
            | Self::NoCells { .. }
            | Self::NoRollouts { .. }
            | Self::NotComparable { .. }
            | Self::Benchmark(_)
            | Self::Prompt(_)
            | Self::ReadResponses { .. }
            | Self::Responses { .. } => true,
            Self::Files(error) => {
                matches!(error, Files::UnknownName { .. } | Files::BadRegistry { .. })
            }
            Self::Model(error) => {
                matches!(
                    error,
                    Models::Device { .. } | Models::MissingFile { .. } | Models::Lora { .. }
                )
            }
            Self::Port(PortError::Unsupported { .. }) => true,
            Self::Endpoint(error) => error.is_users_input(),
            Self::NotHere { .. } | Self::Export { .. } | Self::Show { .. } => true,
            Self::OtherWeights { .. } | Self::RawLogprobs { .. } => false,
            Self::Step { .. } | Self::Trainer(_) | Self::Checkpoint(_) | Self::Events { .. } => {
                false
            }
            Self::Store(_) | Self::Port(_) | Self::Stopped => false,
        }
    }
}
