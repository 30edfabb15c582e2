//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::answers::AnswersCommand;
use crate::commands::compare::CompareArguments;
use crate::commands::export::ExportArguments;
use crate::commands::figures::FiguresArguments;
use crate::commands::files::FilesCommand;
use crate::commands::grade::GradeArguments;
use crate::commands::judge::JudgeCommand;
use crate::commands::launch::LaunchArguments;
use crate::commands::parity::ParityArguments;
use crate::commands::plan::PlanArguments;
use crate::commands::pretrain::PretrainCommand;
use crate::commands::records::RecordsArguments;
use crate::commands::regrade::RegradeArguments;
use crate::commands::report::ReportArguments;
use crate::commands::reproduce::ReproduceArguments;
use crate::commands::run::RunArguments;
use crate::commands::show::ShowArguments;
use crate::commands::store::StoreCommand;
use crate::shared_arguments::ExperimentArguments;

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
    /// Show what a manifest would run: cells, missing records, tokens, time and cost.
    Plan(PlanArguments),
    /// Run everything that is missing, then write the report.
    Run(RunArguments),
    /// Write a script that runs a manifest as an array of tasks on a cluster, and submit it.
    Launch(LaunchArguments),
    /// Run every experiment of a suite and compare the results with the paper's claims.
    Reproduce(ReproduceArguments),
    /// Write tables, figures and pages from the store, without running anything.
    Report(ReportArguments),
    /// Redraw a report's figures from its tables.
    Figures(FiguresArguments),
    /// Export a trained policy as a Hugging Face folder, or its adapter for peft.
    Export(ExportArguments),
    /// Write rollouts, groups, rewards and verdicts of a finished experiment as JSONL and Parquet.
    Records(RecordsArguments),
    /// Show the progress of each cell, from the store.
    Status(ExperimentArguments),
    /// Apply another grader, judge, reward or aggregator to stored rollouts, and show what changes.
    Regrade(RegradeArguments),
    /// Compare two conditions of an experiment, paired by prompt.
    Compare(CompareArguments),
    /// Grade a file of responses or verdicts against a benchmark.
    Grade(GradeArguments),
    /// Measure the quality of a judge.
    #[command(subcommand)]
    Judge(JudgeCommand),
    /// Compare final answers.
    #[command(subcommand)]
    Answers(AnswersCommand),
    /// List, fetch, verify and show models.
    #[command(subcommand)]
    Models(FilesCommand),
    /// List, fetch, verify and show benchmark data.
    #[command(subcommand)]
    Data(FilesCommand),
    /// Compare this build, on a device, with the results of a reference implementation.
    Parity(ParityArguments),
    /// Train the bundled model from scratch.
    #[command(subcommand)]
    Pretrain(PretrainCommand),
    /// Print a record of the store by its key, with its prompt, what it was made from and what was made from
    /// it.
    Show(ShowArguments),
    /// Check the store.
    #[command(subcommand)]
    Store(StoreCommand),
}
