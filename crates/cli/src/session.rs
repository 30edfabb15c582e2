//! A manifest resolved beside its models and its store.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use preceptor_core::Digest;
use preceptor_experiment::{
    Document, Models, Plan, ResolveOptions, RunOptions, RunSummary, resolve,
};
use preceptor_files::{Files, Places};
use preceptor_models::{Device, GenerationOptions};
use preceptor_reports::ReportOptions;
use preceptor_store::{LeaseSettings, Store};
use serde_json::{Value, json};

use crate::commands::launch::FrozenPlan;
use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;
use crate::shared_arguments::{ExperimentArguments, UnitArguments};
use crate::terminal::Terminal;

/// A plan with everything that is needed to run it.
pub(crate) struct Session {
    pub(crate) plan: Plan,
    /// Digest of the whole plan, of which `plan` may be a unit.
    pub(crate) digest: Digest,
    pub(crate) models: Models,
    pub(crate) store: Store,
}

/// Opens a manifest to run it.
pub(crate) fn open(
    arguments: &ExperimentArguments,
    options: GenerationOptions,
) -> Result<Session, Failure> {
    open_with(arguments, &UnitArguments::default(), options, |models| models)
}

/// Opens a unit of work of a manifest to run it.
pub(crate) fn open_unit(
    arguments: &ExperimentArguments,
    unit: &UnitArguments,
    options: GenerationOptions,
) -> Result<Session, Failure> {
    open_with(arguments, unit, options, |models| models)
}

/// Opens a manifest to plan it. Registered models need not be downloaded.
pub(crate) fn open_to_plan(arguments: &ExperimentArguments) -> Result<Session, Failure> {
    let options = GenerationOptions::default();
    open_with(arguments, &UnitArguments::default(), options, Models::for_plans)
}

fn open_with(
    arguments: &ExperimentArguments,
    unit: &UnitArguments,
    options: GenerationOptions,
    prepared: impl FnOnce(Models) -> Models,
) -> Result<Session, Failure> {
    let document = Document::read(&arguments.file, &arguments.settings)?;
    let files = Files::open(Places::from_env())?;
    let devices = Device::parse_all(&arguments.device)?;
    let endpoints = preceptor_experiment::endpoints(&document, &files)?;
    let mut models = prepared(Models::new(files.clone(), devices, options, endpoints));
    let resolve_options = ResolveOptions { limit: arguments.limit };
    let mut plan = resolve(&document, &files, &mut models, resolve_options)?;
    for only in &arguments.only {
        let (axis, value) = only.split_once('=').ok_or_else(|| {
            Failure::input(
                format!("use `--only {only}`: expected `AXIS=VALUE`"),
                "for example `--only aggregator.kind=majority`",
            )
        })?;
        plan.retain(axis, value);
        if plan.cells().is_empty() {
            return Err(Failure::input(
                format!("use `--only {only}`: no cell matches"),
                format!(
                    "`preceptor plan {}` lists the axes and their values",
                    arguments.file.display()
                ),
            ));
        }
    }
    let digest = plan.digest();
    if let Some(path) = &unit.frozen {
        FrozenPlan::read(path)?.check(path, &digest, &arguments.file)?;
    }
    if let Some(index) = unit.only_unit {
        let num_units = plan.work_units().len();
        plan.retain_unit(index).ok_or_else(|| {
            let file = arguments.file.display();
            Failure::input(
                format!("use `--only-unit {index}`: expected 0 to {}", num_units - 1),
                format!("`{file}` has {num_units} units of work; the manifest may have changed since it was launched"),
            )
        })?;
    }
    let store = open_store(&arguments.store)?;
    plan.settle(&store)?;
    Ok(Session { plan, digest, models, store })
}

/// Opens a store, with claims as the environment says.
pub(crate) fn open_store(folder: &Path) -> Result<Store, Failure> {
    let mut leases = LeaseSettings::default();
    if let Some(value) = env::var_os("PRECEPTOR_LEASE_SECS") {
        let secs = value.to_str().and_then(|value| value.parse::<f64>().ok());
        let secs = secs.filter(|secs| (1.0..=86_400.0).contains(secs)).ok_or_else(|| {
            Failure::input(
                format!("use PRECEPTOR_LEASE_SECS: expected 1 to 86400, found {value:?}"),
                "it is the time without a heartbeat after which another process takes over; the default is 120",
            )
        })?;
        leases.expires_after = Duration::from_secs_f64(secs);
    }
    if let Some(value) = env::var_os("PRECEPTOR_FILE_LOCKS") {
        leases.uses_locks = match value.to_str() {
            Some("on") => true,
            Some("off") => false,
            _ => {
                return Err(Failure::input(
                    format!("use PRECEPTOR_FILE_LOCKS: expected on or off, found {value:?}"),
                    "turn locks off on a file system on which they hang; the default is on",
                ));
            }
        };
    }
    Ok(Store::open(folder)?.with_leases(leases))
}

/// Runs the plan, which then names the policies that early stopping chose.
pub(crate) fn run_plan(session: &mut Session, options: RunOptions) -> Result<RunSummary, Failure> {
    run_shown(session, options, Terminal::new())
}

/// Runs the plan and shows its progress on `terminal`.
pub(crate) fn run_shown(
    session: &mut Session,
    options: RunOptions,
    mut terminal: Terminal,
) -> Result<RunSummary, Failure> {
    let Session { plan, models, store, .. } = session;
    let summary = preceptor_experiment::run(plan, store, models, options, &mut terminal)?;
    plan.settle(store)?;
    Ok(summary)
}

/// Prints the calls of each role and the failures. Failed records are exit code 1.
pub(crate) fn finish(summary: &RunSummary, output: &Output) -> Result<ExitCode, Failure> {
    for (role, cost) in &summary.roles {
        let mut line = format!(
            "{role}: {} calls, {} answered from the store, {} tokens read, {} written",
            cost.num_calls,
            cost.num_reused,
            cost.usage.num_prompt_tokens,
            cost.usage.num_generated_tokens
        );
        if cost.cost_usd > 0.0 {
            line.push_str(&format!(", {:.4} USD", cost.cost_usd));
        }
        for (kind, count) in &cost.failures {
            line.push_str(&format!(", {count} failed: {}", kind.name()));
        }
        output.text(line);
    }
    if summary.num_failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output.text(format!(
        "{} records failed; run the command again to retry only those",
        summary.num_failed
    ));
    Ok(ExitCode::from(CHECKS_FAILED))
}

/// Writes the report of a session.
pub(crate) fn write_report(
    session: &Session,
    reports: &Path,
    options: ReportOptions,
) -> Result<Value, Failure> {
    let digest = session.store.put_plan(&session.plan.record())?;
    let folder = reports.join(session.plan.experiment());
    let written = preceptor_reports::write(&session.store, &digest, &folder, options)?;
    Ok(json!({ "page": written.page, "files": written.files }))
}
