//! Errors on their way to the user: a message with its causes, and an exit code.

use std::error::Error;
use std::process::ExitCode;

use serde_json::json;

use crate::interrupt;
use crate::output::Output;

/// Exit code of a command that worked and found something wrong.
pub(crate) const CHECKS_FAILED: u8 = 1;
/// Exit code for wrong input.
pub(crate) const INPUT: u8 = 2;
/// Exit code for a failure of this machine.
pub(crate) const ENVIRONMENT: u8 = 3;

/// Failure of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    exit_code: u8,
    /// True if a signal asked for it.
    is_stop: bool,
}

impl Failure {
    /// Creates a failure from the messages of `error` and its causes; the hint goes last.
    fn new(error: &dyn Error, exit_code: u8) -> Self {
        let mut parts = Vec::new();
        let mut hints = Vec::new();
        let mut current = Some(error);
        while let Some(error) = current {
            let text = error.to_string();
            let (message, hint) = match text.split_once("\nhint: ") {
                Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
                None => (text, None),
            };
            // Transparent wrappers repeat their cause.
            if parts.last() != Some(&message) {
                parts.push(message);
                hints.extend(hint);
            }
            current = error.source();
        }
        let hint = hints.into_iter().next();
        Self { message: parts.join(": "), hint, exit_code, is_stop: false }
    }

    pub(crate) fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with_code(message, hint, INPUT)
    }

    /// Creates a failure of this machine.
    pub(crate) fn environment(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::with_code(message, hint, ENVIRONMENT)
    }

    fn with_code(message: impl Into<String>, hint: impl Into<String>, exit_code: u8) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), exit_code, is_stop: false }
    }

    /// Returns true if both have the same message and hint.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.message, &self.hint) == (&other.message, &other.hint)
    }

    /// Joins several failures into one.
    pub(crate) fn together(failures: Vec<Self>) -> Option<Self> {
        let exit_code = failures.first()?.exit_code;
        let join = |texts: Vec<String>, between: &str| texts.join(between);
        let hints = failures.iter().filter_map(|failure| failure.hint.clone()).collect::<Vec<_>>();
        let messages = failures.into_iter().map(|failure| failure.message).collect();
        let hint = (!hints.is_empty()).then(|| join(hints, "\n      "));
        let message = join(messages, "\nerror: failed to ");
        Some(Self { message, hint, exit_code, is_stop: false })
    }

    /// Prints the failure and returns its exit code.
    pub(crate) fn report(&self, output: &Output) -> ExitCode {
        let Self { message, hint, exit_code, is_stop } = self;
        if *is_stop {
            output.json(&json!({"stopped": message, "hint": hint, "exit-code": exit_code}));
            eprintln!("stopped: {message}");
        } else {
            output.json(&json!({"error": message, "hint": hint, "exit-code": exit_code}));
            eprintln!("error: failed to {message}");
        }
        if let Some(hint) = hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(*exit_code)
    }
}

impl From<preceptor_experiment::Error> for Failure {
    fn from(error: preceptor_experiment::Error) -> Self {
        if matches!(error, preceptor_experiment::Error::Stopped) {
            let exit_code = interrupt::exit_code();
            return Self { is_stop: true, ..Self::new(&error, exit_code) };
        }
        Self::new(&error, if error.is_users_input() { INPUT } else { ENVIRONMENT })
    }
}

impl From<preceptor_experiment::ManifestError> for Failure {
    fn from(error: preceptor_experiment::ManifestError) -> Self {
        Self::new(&error, INPUT)
    }
}

impl From<preceptor_files::Error> for Failure {
    fn from(error: preceptor_files::Error) -> Self {
        preceptor_experiment::Error::from(error).into()
    }
}

impl From<preceptor_models::Error> for Failure {
    fn from(error: preceptor_models::Error) -> Self {
        preceptor_experiment::Error::from(error).into()
    }
}

impl From<preceptor_pocket::Error> for Failure {
    fn from(error: preceptor_pocket::Error) -> Self {
        let is_input = matches!(error, preceptor_pocket::Error::OutOfRange { .. });
        Self::new(&error, if is_input { INPUT } else { ENVIRONMENT })
    }
}

impl From<preceptor_trainer::parity::ParityError> for Failure {
    fn from(error: preceptor_trainer::parity::ParityError) -> Self {
        match error {
            preceptor_trainer::parity::ParityError::Model(error) => error.into(),
            error => Self::new(&error, INPUT),
        }
    }
}

impl From<preceptor_store::Error> for Failure {
    fn from(error: preceptor_store::Error) -> Self {
        Self::new(&error, ENVIRONMENT)
    }
}

impl From<preceptor_reports::Error> for Failure {
    fn from(error: preceptor_reports::Error) -> Self {
        let is_input = matches!(error, preceptor_reports::Error::Claim { .. });
        Self::new(&error, if is_input { INPUT } else { ENVIRONMENT })
    }
}
