//! A manifest resolved beside its models and its store.

use std::path::Path;
use std::process::ExitCode;

use preceptor_experiment::{
    Document, Models, Plan, ResolveOptions, RunOptions, RunSummary, resolve,
};
use preceptor_files::{Files, Places};
use preceptor_models::{Device, GenerationOptions};
use preceptor_reports::ReportOptions;
use preceptor_store::Store;
use serde_json::{Value, json};

use crate::failure::{CHECKS_FAILED, Failure};
use crate::output::Output;
use crate::shared_arguments::ExperimentArguments;
use crate::terminal::Terminal;

/// A plan with everything that is needed to run it.
pub(crate) struct Session {
    pub(crate) plan: Plan,
    pub(crate) models: Models,
    pub(crate) store: Store,
}

/// Opens a manifest to run it.
pub(crate) fn open(
    arguments: &ExperimentArguments,
    options: GenerationOptions,
) -> Result<Session, Failure> {
    open_with(arguments, options, |models| models)
}

/// Opens a manifest to plan it. Registered models need not be downloaded.
pub(crate) fn open_to_plan(arguments: &ExperimentArguments) -> Result<Session, Failure> {
    open_with(arguments, GenerationOptions::default(), Models::for_plans)
}

fn open_with(
    arguments: &ExperimentArguments,
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
    let store = Store::open(&arguments.store)?;
    plan.settle(&store)?;
    Ok(Session { plan, models, store })
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
    let Session { plan, models, store } = session;
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
