//! `reproduce`: every experiment of a suite, then its summary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use preceptor_experiment::{Counting, Estimate};
use preceptor_reports::{
    Claim, Suite, SuiteContrast, SuiteFiles, SuitePart, check_claims, check_contrasts, write_suite,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::estimate::ShownEstimate;
use crate::commands::plan::print_plan;
use crate::commands::suite_size::{self, Allowance, Chosen, Size};
use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;
use crate::session::{Session, open, open_store, open_to_plan, run_plan, write_report};
use crate::shared_arguments::{ExperimentArguments, ExplorerArguments, ResourceArguments};

/// Suites of experiments.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum SuiteName {
    /// The bundled 0.8M-parameter model on synthetic benchmarks: 30 minutes on two cores.
    Pocket,
    /// Qwen 2.5 Coder on MATH-500, GSM8K and HealthBench: needs a GPU; its part for the CPU takes hours.
    Small,
    /// Every experiment of the paper with Qwen 2.5 1.5B and adapters, in the largest size that fits `--hours`.
    OneGpu,
    /// The paper's models and settings: needs GPUs, gated repositories and an API key for the judge.
    Paper,
}

impl SuiteName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pocket => "pocket",
            Self::Small => "small",
            Self::OneGpu => "one-gpu",
            Self::Paper => "paper",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReproduceArguments {
    /// The suite.
    #[arg(value_enum, default_value = "pocket")]
    pub(crate) suite: SuiteName,
    /// Run a short part of the suite to see that everything works; the report is in `SUITE-quick`.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run the short part first and print its results, then run the whole suite.
    #[arg(long)]
    pub(crate) quick_first: bool,
    /// Run the whole suite on the CPU too, if it has a smaller part for the CPU.
    #[arg(long)]
    pub(crate) whole: bool,
    /// The most hours that the suite is estimated to take, of a suite with several sizes. Default: the suite's.
    #[arg(long)]
    pub(crate) hours: Option<f64>,
    /// GPUs that share the work, for that estimate. Default: the number of devices.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) gpus: Option<u64>,
    /// The most that endpoints are estimated to cost in USD, of a suite with several sizes. Default: the suite's.
    #[arg(long, value_name = "USD")]
    pub(crate) budget: Option<f64>,
    /// Show the plan of every experiment and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Set a key of every manifest, for example `policy.model=runs/pocket-mild/model`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// The folder with a subfolder for each suite, which contains its `suite.toml`.
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    pub(crate) experiments: PathBuf,
    /// Devices that models run on: `cpu`, `wgpu:N` or `cuda:N`; `:f16` or `:bf16` may follow. Separate several
    /// with commas to share the work.
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
    #[command(flatten)]
    pub(crate) explorer: ExplorerArguments,
}

/// Contents of `suite.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SuiteFile {
    title: String,
    description: String,
    /// Prompts of each benchmark with `--quick`.
    quick_limit: usize,
    /// Prompts of each benchmark on the CPU, of a suite that is too large for one.
    cpu_limit: Option<usize>,
    /// Defaults of `--hours` and `--budget`, of a suite with sizes.
    hours: Option<f64>,
    budget: Option<f64>,
    /// Sizes, from the largest to the smallest.
    #[serde(rename = "size", default)]
    sizes: Vec<Size>,
    #[serde(rename = "manifest")]
    manifests: Vec<Member>,
    #[serde(rename = "claim", default)]
    claims: Vec<Claim>,
    #[serde(rename = "contrast", default)]
    contrasts: Vec<SuiteContrast>,
}

/// Experiment of a suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Member {
    /// The manifest, beside `suite.toml`.
    file: PathBuf,
    /// Settings with `--quick`; none if `--quick` skips the experiment.
    quick: Option<Vec<String>>,
    /// Its part for the CPU, of a suite with a `cpu-limit`; none if the CPU skips the experiment.
    cpu: Option<Part>,
}

/// Part of an experiment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Part {
    /// Settings, as with `--set`.
    set: Vec<String>,
    /// Cells that are kept, as with `--only`.
    only: Vec<String>,
}

impl SuiteFile {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("suite.toml");
        let read = |detail: String, hint: &str| {
            Failure::input(format!("read suite `{}`: {detail}", path.display()), hint)
        };
        let text = fs::read_to_string(&path).map_err(|error| {
            read(
                error.to_string(),
                "run it in the folder that contains `experiments`, or pass `--experiments DIR`",
            )
        })?;
        toml::from_str(&text).map_err(|error| {
            read(error.to_string(), "`suite.toml` has a title, a description, manifests and claims")
        })
    }

    /// Returns the part for the CPU. Claims with checks that it does not make name the `command` that does.
    fn on_cpu(mut self, command: &str) -> Self {
        self.manifests.retain(|member| member.cpu.is_some());
        let Self { manifests, claims, contrasts, .. } = &mut self;
        let stays = |experiment: &str| manifests.iter().any(|member| member.name() == experiment);
        for claim in claims.iter_mut() {
            let num_checks = claim.checks.len();
            claim.checks.retain(|check| !check.whole && stays(&check.experiment));
            let num_left = num_checks - claim.checks.len();
            if num_left > 0 {
                claim.left_open = Some(format!(
                    "{num_left} of {num_checks} checks were not made: `{command}` makes them"
                ));
            }
        }
        contrasts.retain(|contrast| stays(&contrast.experiment));
        self
    }

    /// Returns the part that `--quick` runs.
    fn shortened(mut self) -> Self {
        self.manifests.retain(|member| member.quick.is_some());
        let stays =
            |experiment: &str| self.manifests.iter().any(|member| member.name() == experiment);
        self.claims.retain(|claim| {
            !claim.checks.is_empty() && claim.checks.iter().all(|check| stays(&check.experiment))
        });
        self.contrasts.retain(|contrast| stays(&contrast.experiment));
        self
    }
}

impl Member {
    fn name(&self) -> String {
        self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl ReproduceArguments {
    /// Returns the arguments of one experiment of the suite.
    fn experiment(
        &self,
        suite: &SuiteFile,
        member: &Member,
        size: Option<&Size>,
    ) -> Result<ExperimentArguments, Failure> {
        let part = member.cpu.as_ref().filter(|_| self.is_part(suite));
        let quick = member.quick.iter().filter(|_| self.quick).flatten();
        let settings = part.iter().flat_map(|part| &part.set).chain(quick).chain(&self.settings);
        let mut experiment = ExperimentArguments {
            file: self.experiments.join(self.suite.name()).join(&member.file),
            settings: settings.cloned().collect(),
            only: part.map(|part| part.only.clone()).unwrap_or_default(),
            limit: self.limit(suite),
            device: self.device.clone(),
            store: self.store.clone(),
        };
        if let Some(size) = size {
            size.apply(&mut experiment)?;
        }
        Ok(experiment)
    }

    /// Returns the largest size within `--hours` and `--budget`; none if the suite has one size, or with `--quick`.
    fn choose_size(&self, suite: &SuiteFile) -> Result<Option<Chosen>, Failure> {
        let name = self.suite.name();
        if suite.sizes.is_empty() || self.quick {
            let given = [self.hours.is_some(), self.gpus.is_some(), self.budget.is_some()];
            if given.contains(&true) {
                let detail = if self.quick { "`--quick` has one size" } else { "it has one size" };
                return Err(Failure::input(
                    format!("choose a size of suite `{name}`: {detail}"),
                    "leave out `--hours`, `--gpus` and `--budget`",
                ));
            }
            return Ok(None);
        }
        let allowance = Allowance {
            hours: self.hours.or(suite.hours).unwrap_or(f64::INFINITY),
            num_gpus: self.gpus.unwrap_or(self.device.split(',').count() as u64),
            budget: self.budget.or(suite.budget).unwrap_or(f64::INFINITY),
        };
        for (key, value) in [("--hours", allowance.hours), ("--budget", allowance.budget)] {
            if value.is_nan() || value < 0.0 {
                return Err(Failure::input(
                    format!("use `{key} {value}`: expected a number of 0 or more"),
                    "for example `--hours 24 --budget 100`",
                ));
            }
        }
        let experiments = |size: &Size| {
            suite
                .manifests
                .iter()
                .map(|member| self.experiment(suite, member, Some(size)))
                .collect()
        };
        suite_size::choose(&suite.sizes, allowance, &experiments).map(Some)
    }

    /// Returns true if only the suite's part for the CPU runs.
    fn is_part(&self, suite: &SuiteFile) -> bool {
        suite.cpu_limit.is_some() && self.is_on_cpu() && !self.whole
    }

    fn is_on_cpu(&self) -> bool {
        self.device.split(',').all(|device| device.split(':').next() == Some("cpu"))
    }

    /// Returns the most prompts of each benchmark; none if there is no limit.
    fn limit(&self, suite: &SuiteFile) -> Option<usize> {
        if self.quick {
            Some(suite.quick_limit)
        } else {
            suite.cpu_limit.filter(|_| self.is_part(suite))
        }
    }

    fn reports(&self) -> PathBuf {
        let suffix = if self.quick { "-quick" } else { "" };
        self.reports.join(format!("{}{suffix}", self.suite.name()))
    }
}

pub(crate) fn reproduce(
    arguments: &ReproduceArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    if arguments.quick_first && !arguments.quick && !arguments.dry_run {
        reproduce_suite(&ReproduceArguments { quick: true, ..arguments.clone() }, output)?;
        output.text("");
    }
    let runs = reproduce_suite(arguments, output)?;
    let Some(runs) = runs else { return Ok(ExitCode::SUCCESS) };
    output.json(&json!({
        "experiments": Value::Array(runs.counts), "page": runs.page,
        "claims": runs.verdicts.iter().map(|(claim, verdict)| json!({
            "claim": claim, "verdict": verdict,
        })).collect::<Vec<_>>(),
        "failed-records": runs.num_failed,
    }));
    if runs.num_failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let num_failed = runs.num_failed;
    output.text(format!("{num_failed} records failed; run the command again to retry only those"));
    Ok(ExitCode::from(CHECKS_FAILED))
}

/// Runs a suite and prints the verdicts on its claims; none on a dry run.
fn reproduce_suite(
    arguments: &ReproduceArguments,
    output: &Output,
) -> Result<Option<SuiteRuns>, Failure> {
    let mut suite = SuiteFile::read(&arguments.experiments.join(arguments.suite.name()))?;
    if arguments.is_part(&suite) {
        let command = format!("preceptor reproduce {} --device cuda:0", arguments.suite.name());
        suite = suite.on_cpu(&command);
    }
    if arguments.quick {
        suite = suite.shortened();
        if suite.manifests.is_empty() {
            return Err(Failure::input(
                format!("use `--quick`: suite `{}` has no short part", arguments.suite.name()),
                "see its plan with `--dry-run`, or take `pocket`, `small` or `one-gpu`",
            ));
        }
    }
    let chosen = arguments.choose_size(&suite)?;
    let size = chosen.as_ref().map(|chosen| &chosen.size);
    if arguments.dry_run {
        print_plans(arguments, &suite, chosen.as_ref(), output)?;
        return Ok(None);
    }
    if let Some(chosen) = &chosen {
        eprintln!("{}", chosen.text());
        if arguments.is_on_cpu() {
            eprintln!("`--device` is the CPU, which takes much longer than the estimate for a GPU");
        }
    }
    let sessions = resolve_all(arguments, &suite, size)?;
    let plans: Vec<_> =
        sessions.into_iter().map(|(name, session)| (name, session.plan.record())).collect();
    check_claims(&suite.claims, &plans)?;
    check_contrasts(&suite.contrasts, &plans)?;
    let mut runs = run_all(arguments, &suite, size)?;
    let SuiteFiles { page, verdicts, .. } =
        write_summary(arguments, &suite, chosen.as_ref(), &runs.parts)?;
    let row = |(claim, verdict): &(String, &str)| vec![claim.clone(), (*verdict).to_owned()];
    output.table(&["claim of the paper", "verdict"], &verdicts.iter().map(row).collect::<Vec<_>>());
    output.text(format!("Report: {}", page.display()));
    (runs.page, runs.verdicts) = (page, verdicts);
    Ok(Some(runs))
}

/// Resolves every experiment. Everything that any of them lacks is reported at once, before the first is run.
fn resolve_all(
    arguments: &ReproduceArguments,
    suite: &SuiteFile,
    size: Option<&Size>,
) -> Result<Vec<(String, Session)>, Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut sessions = Vec::new();
    for member in &suite.manifests {
        let experiment = arguments.experiment(suite, member, size)?;
        let opened = if arguments.dry_run {
            open_to_plan(&experiment)
        } else {
            open(&experiment, arguments.resources.generation())
        };
        match opened {
            Ok(session) => sessions.push((member.name(), session)),
            Err(failure) if failures.iter().any(|known| known.is_like(&failure)) => {}
            Err(failure) => failures.push(failure),
        }
    }
    match Failure::together(failures) {
        Some(failure) => Err(failure),
        None => Ok(sessions),
    }
}

/// Prints the size, the estimate of all that is missing, and the plan of every experiment.
fn print_plans(
    arguments: &ReproduceArguments,
    suite: &SuiteFile,
    chosen: Option<&Chosen>,
    output: &Output,
) -> Result<(), Failure> {
    let mut sessions = resolve_all(arguments, suite, chosen.map(|chosen| &chosen.size))?;
    if let Some(chosen) = chosen {
        output.text(format!("{}: {}", arguments.suite.name(), suite.title));
        output.text(chosen.text());
        chosen.lines.iter().for_each(|line| output.text(line));
        output.text("This is the whole suite; below is what the store lacks.\n");
        output.json(&chosen.json());
    }
    if chosen.is_none() {
        print_missing(&sessions, output)?;
    }
    for (_, session) in &mut sessions {
        print_plan(session, output)?;
        output.text("");
    }
    Ok(())
}

/// Prints the estimate of what is missing of all experiments together, if each states its speeds.
fn print_missing(sessions: &[(String, Session)], output: &Output) -> Result<(), Failure> {
    let Some((_, first)) = sessions.first() else { return Ok(()) };
    let mut counting = Counting::missing(&first.store);
    let mut total = Estimate::default();
    for (_, Session { plan, models, .. }) in sessions {
        if plan.estimate_settings().weights.is_none() {
            return Ok(());
        }
        total += plan.estimate(&mut counting, models, &BTreeMap::new())?;
    }
    let settings = first.plan.estimate_settings();
    let shown =
        ShownEstimate { estimate: &total, settings, num_gpus: first.plan.num_gpus(), held: &[] };
    output.text("All experiments together, each stage counted once:");
    shown.lines().iter().for_each(|line| output.text(line));
    output.text("");
    Ok(())
}

/// Results of the experiments of a suite.
#[derive(Default)]
struct SuiteRuns {
    parts: Vec<SuitePart>,
    counts: Vec<Value>,
    num_failed: u64,
    page: PathBuf,
    verdicts: Vec<(String, &'static str)>,
}

/// Runs every experiment and writes its report.
fn run_all(
    arguments: &ReproduceArguments,
    suite: &SuiteFile,
    size: Option<&Size>,
) -> Result<SuiteRuns, Failure> {
    let mut runs = SuiteRuns::default();
    for (index, member) in suite.manifests.iter().enumerate() {
        let experiment = arguments.experiment(suite, member, size)?;
        let mut session = open(&experiment, arguments.resources.generation())?;
        let (number, count) = (index + 1, suite.manifests.len());
        eprintln!("{number} of {count}: {} ({})", session.plan.title(), member.name());
        let summary = run_plan(&mut session, arguments.resources.run_options())?;
        write_report(&session, &arguments.reports(), arguments.explorer.options(true))?;
        runs.num_failed += summary.num_failed;
        runs.counts.push(json!({
            "experiment": member.name(), "rollouts-sampled": summary.num_rollouts,
            "rollouts-reused": summary.num_reused, "training-steps": summary.num_steps,
            "failed-records": summary.num_failed,
        }));
        let plan = session.store.put_plan(&session.plan.record())?;
        runs.parts.push(SuitePart { experiment: member.name(), plan });
    }
    Ok(runs)
}

/// Writes the summary of the suite.
fn write_summary(
    arguments: &ReproduceArguments,
    suite: &SuiteFile,
    chosen: Option<&Chosen>,
    parts: &[SuitePart],
) -> Result<SuiteFiles, Failure> {
    let store = open_store(&arguments.store)?;
    let mut description = suite.description.clone();
    if let Some(limit) = arguments.limit(suite).filter(|_| arguments.is_part(suite)) {
        description += &format!(
            "\n\nThis is the part for the CPU, with at most {limit} prompts per benchmark. \
             `--device cuda:0` or `--whole` runs all of it, from the same store."
        );
    }
    if let Some(chosen) = chosen {
        description += &format!("\n\n{} {}", chosen.text(), chosen.lines.join(" "));
    }
    if !arguments.settings.is_empty() {
        let settings = arguments.settings.join("`, `");
        description += &format!("\n\nEvery experiment was run with `{settings}`.");
    }
    let about = Suite {
        title: &suite.title,
        description: &description,
        claims: &suite.claims,
        contrasts: &suite.contrasts,
    };
    Ok(write_suite(&store, &about, parts, &arguments.reports())?)
}
