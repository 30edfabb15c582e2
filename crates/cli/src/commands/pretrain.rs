//! `pretrain`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use preceptor_pocket::{Progress, Settings, pretrain};
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Updates between two progress lines.
const LINE_EVERY: u64 = 50;

#[derive(Debug, Subcommand)]
pub(crate) enum PretrainCommand {
    /// The model of `pocket-math` and `pocket-health`.
    Pocket {
        /// The folder for the model, its logs and its checkpoints. An interrupted run resumes from
        /// there.
        #[arg(long, value_name = "DIR", default_value = "runs/pocket")]
        out: PathBuf,
        /// Updates of the weights; the default is that of the bundled model.
        #[arg(long, value_name = "N")]
        updates: Option<u64>,
        /// Seed of the weights and the text.
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
        /// Put fewer systematic errors into the text.
        #[arg(long)]
        mild_errors: bool,
    },
}

pub(crate) fn pretrain_model(
    command: &PretrainCommand,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let PretrainCommand::Pocket { out, updates, seed, mild_errors } = command;
    let default = Settings::default();
    let settings = Settings {
        seed: *seed,
        errors: if *mild_errors {
            preceptor_pocket::errors::ErrorModel::Mild
        } else {
            default.errors
        },
        num_updates: updates.unwrap_or(default.num_updates),
        ..default
    };
    let mut on_update = |progress: Progress| {
        let Progress { num_updates, num_wanted, num_tokens, loss } = progress;
        if num_updates % LINE_EVERY == 0 || num_updates == num_wanted {
            eprintln!("update {num_updates} of {num_wanted}, {num_tokens} tokens, loss {loss:.3}");
        }
    };
    let summary = pretrain(&settings, out, &mut on_update)?;
    let (folder, num_tokens) = (summary.folder.display(), summary.num_tokens);
    let weights = preceptor_files::sha256_of_file(&summary.folder.join("model.safetensors"))?;
    output
        .json(&json!({ "model": summary.folder, "weights-sha256": weights, "tokens": num_tokens }));
    output.text(format!("{folder}: {num_tokens} tokens, SHA-256 of the weights {weights}"));
    Ok(ExitCode::SUCCESS)
}
