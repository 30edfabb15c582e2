//! Arguments that several commands share.

use std::path::PathBuf;

use clap::Args;
use preceptor_experiment::RunOptions;
use preceptor_models::GenerationOptions;
use preceptor_reports::ReportOptions;

use crate::interrupt::stop_request;

/// A manifest and the store of its records.
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
    /// Devices that models run on: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Separate several
    /// with commas to share the work.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// The store's folder.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
}

/// A part of an experiment that one task of a cluster runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UnitArguments {
    /// Run only this unit of work, counted from 0, and write no report. `preceptor launch` lists the units.
    #[arg(long, value_name = "INDEX")]
    pub(crate) only_unit: Option<usize>,
    /// Refuse to run if the manifest's plan is not the one in this file, which `preceptor launch` wrote.
    #[arg(long, value_name = "FILE", requires = "only_unit")]
    pub(crate) frozen: Option<PathBuf>,
}

/// Limits on the resources of a run. Nothing here changes a result.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ResourceArguments {
    /// Largest number of sequences decoded together. Default: 32 on the CPU, 128 elsewhere, and no more
    /// than fit into free memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    /// Memory of each device in GiB, if the device does not report it or should not be filled.
    #[arg(long, value_name = "GIB", value_parser = gibibytes)]
    pub(crate) device_memory: Option<u64>,
    /// Start training runs even if they seem not to fit into memory.
    #[arg(long)]
    pub(crate) no_memory_check: bool,
}

impl ResourceArguments {
    /// Returns the options of sampling.
    pub(crate) fn generation(self) -> GenerationOptions {
        GenerationOptions {
            max_batch: self.batch.map(|batch| batch as usize),
            // The same share as of the memory that a device reports.
            cache_bytes: self.device_memory.map(|bytes| bytes / 2),
        }
    }

    /// Returns the options of a run.
    pub(crate) fn run_options(self) -> RunOptions {
        RunOptions {
            only_stored_rollouts: false,
            generation: self.generation(),
            ignores_memory: self.no_memory_check,
            device_bytes: self.device_memory,
            stop: stop_request(),
        }
    }
}

/// Limit on the explorers of a report.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ExplorerArguments {
    /// Keep about this many MiB of texts in a report's explorers: those of every n-th prompt and step. Their lists
    /// stay whole. Without it, every text is kept.
    #[arg(long, value_name = "MIB", value_parser = mebibytes)]
    pub(crate) explorer_mib: Option<usize>,
}

impl ExplorerArguments {
    /// Returns the options of a report, which may be a part of a suite.
    pub(crate) fn options(self, is_part: bool) -> ReportOptions {
        ReportOptions { explorer_bytes: self.explorer_mib, is_part, unfinished: None }
    }
}

/// Parses a number of MiB above 0 as bytes.
fn mebibytes(text: &str) -> Result<usize, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e6 => Ok((number * f64::from(1 << 20)) as usize),
        _ => Err("expected a number of MiB above 0".to_owned()),
    }
}

/// Parses a number of GiB above 0 as bytes.
fn gibibytes(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok((number * f64::from(1 << 30)) as u64),
        _ => Err("expected a number of GiB above 0".to_owned()),
    }
}
