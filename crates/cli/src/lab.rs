//! `run`, `report`, `status` and `store verify`.

use std::path::Path;
use std::process::ExitCode;

use preceptor_core::ModelRole;
use preceptor_experiment::{
    CellState, CellStatus, Document, Models, NoProgress, Plan, ResolveOptions, RoleCost,
    RunOptions, RunSummary, StageState, resolve,
};
use preceptor_files::{Files, Places};
use preceptor_models::{Device, GenerationOptions};
use preceptor_store::{Finding, Store};
use serde_json::{Value, json};

use crate::arguments::{
    ExperimentArguments, ExportArguments, ReportArguments, RunArguments, StoreCommand,
};
use crate::failure::Failure;
use crate::output::Output;
use crate::plan::plan;
use crate::terminal::Terminal;

/// The exit code for a command that worked and found something wrong.
pub(crate) const CHECKS_FAILED: u8 = 1;

/// A manifest with everything that is needed to run it.
pub(crate) struct Lab {
    pub(crate) plan: Plan,
    pub(crate) models: Models,
    pub(crate) store: Store,
}

pub(crate) fn open(
    arguments: &ExperimentArguments,
    options: GenerationOptions,
) -> Result<Lab, Failure> {
    open_with(arguments, options, |models| models)
}

/// The same to be planned and not run: registered models need not be here.
pub(crate) fn open_to_plan(arguments: &ExperimentArguments) -> Result<Lab, Failure> {
    open_with(arguments, GenerationOptions::default(), Models::for_plans)
}

fn open_with(
    arguments: &ExperimentArguments,
    options: GenerationOptions,
    prepared: impl FnOnce(Models) -> Models,
) -> Result<Lab, Failure> {
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
                format!("use `--only {only}`: there is no `=`"),
                "write `--only AXIS=VALUE`",
            )
        })?;
        plan.retain(axis, value);
        if plan.cells().is_empty() {
            return Err(Failure::input(
                format!("use `--only {only}`: no cell is left"),
                format!(
                    "`preceptor plan {}` lists the axes and their values",
                    arguments.file.display()
                ),
            ));
        }
    }
    let store = Store::open(&arguments.store)?;
    plan.settle(&store)?;
    Ok(Lab { plan, models, store })
}

/// Runs the plan. Afterwards it names the policies that early stopping chose.
pub(crate) fn run_plan(lab: &mut Lab, options: RunOptions) -> Result<RunSummary, Failure> {
    let mut terminal = Terminal::new();
    let Lab { plan, models, store } = lab;
    let summary = preceptor_experiment::run(plan, store, models, options, &mut terminal)?;
    plan.settle(store)?;
    Ok(summary)
}

pub(crate) fn run(arguments: &RunArguments, output: &Output) -> Result<ExitCode, Failure> {
    if arguments.dry_run {
        return plan(&arguments.experiment, output);
    }
    let mut lab = open(&arguments.experiment, arguments.resources.generation())?;
    let summary = run_plan(&mut lab, arguments.resources.run_options())?;
    let written = write_report(&lab, arguments.reports.as_path())?;
    output.json(&json!({
        "rollouts-drawn": summary.num_rollouts,
        "rollouts-reused": summary.num_reused,
        "training-steps": summary.num_steps,
        "prompt-tokens": summary.usage.num_prompt_tokens,
        "generated-tokens": summary.usage.num_generated_tokens,
        "left-out": lab.plan.left_out(),
        "roles": roles_json(&summary),
        "failed-records": summary.num_failed,
        "report": written,
    }));
    output.text(format!(
        "{} rollouts drawn, {} were in the store. Report: {}",
        summary.num_rollouts,
        summary.num_reused,
        written["page"].as_str().unwrap_or_default()
    ));
    finish(&summary, output)
}

fn roles_json(summary: &RunSummary) -> Value {
    let role = |(role, cost): (&ModelRole, &RoleCost)| {
        let failures = cost.failures.iter().map(|(kind, n)| (kind.name().to_owned(), json!(n)));
        let value = json!({
            "calls": cost.num_calls, "reused": cost.num_reused, "cost-usd": cost.cost_usd,
            "prompt-tokens": cost.usage.num_prompt_tokens,
            "generated-tokens": cost.usage.num_generated_tokens,
            "failures": failures.collect::<serde_json::Map<_, _>>(),
        });
        (role.name().to_owned(), value)
    };
    Value::Object(summary.roles.iter().map(role).collect())
}

/// Says what was asked beyond rollouts and what failed; failed records are exit code 1.
pub(crate) fn finish(summary: &RunSummary, output: &Output) -> Result<ExitCode, Failure> {
    for (role, cost) in &summary.roles {
        let mut line = format!(
            "{role}: {} calls, {} answered by earlier ones, {} tokens read, {} written",
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
        "{} records could not be made; run again to ask for what failed, and nothing else",
        summary.num_failed
    ));
    Ok(ExitCode::from(CHECKS_FAILED))
}

pub(crate) fn write_report(lab: &Lab, reports: &Path) -> Result<Value, Failure> {
    let digest = lab.store.put_plan(&lab.plan.record())?;
    let folder = reports.join(lab.plan.experiment());
    let written = preceptor_reports::write(&lab.store, &digest, &folder)?;
    Ok(json!({ "page": written.page, "files": written.files }))
}

pub(crate) fn report(arguments: &ReportArguments, output: &Output) -> Result<ExitCode, Failure> {
    let lab = open(&arguments.experiment, GenerationOptions::default())?;
    let cells = preceptor_experiment::status(&lab.plan, &lab.store)?;
    let unfinished = cells.iter().filter(|cell| !cell.state.is_finished()).count();
    if unfinished > 0 {
        return Err(Failure::input(
            format!(
                "report `{}`: {unfinished} of {} cells are not finished",
                lab.plan.experiment(),
                cells.len()
            ),
            format!("run `preceptor run {}` first", arguments.experiment.file.display()),
        ));
    }
    let written = write_report(&lab, arguments.reports.as_path())?;
    output.json(&written);
    output.text(format!("Report: {}", written["page"].as_str().unwrap_or_default()));
    let failed = cells.iter().filter(|cell| cell.state == CellState::Failed).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    output.text(format!(
        "{failed} of {} cells lack records that could not be made; `preceptor run` tries them again",
        cells.len()
    ));
    Ok(ExitCode::from(CHECKS_FAILED))
}

pub(crate) fn export(arguments: &ExportArguments, output: &Output) -> Result<ExitCode, Failure> {
    let mut lab = open(&arguments.experiment, GenerationOptions::default())?;
    let exported = preceptor_experiment::export(
        &lab.plan,
        &lab.store,
        &mut lab.models,
        &arguments.out,
        arguments.adapter,
        &mut NoProgress,
    )?;
    let folder = exported.folder.display().to_string();
    output.json(&json!({ "cell": exported.label, "step": exported.step, "folder": folder }));
    output
        .text(format!("The policy of `{}` after step {}: {folder}", exported.label, exported.step));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn figures(folder: &Path, output: &Output) -> Result<ExitCode, Failure> {
    let files = preceptor_reports::redraw(folder)?;
    output.json(&files);
    output.text(format!("{} files drawn in {}", files.len(), folder.join("figures").display()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status(
    arguments: &ExperimentArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let lab = open(arguments, GenerationOptions::default())?;
    let cells = preceptor_experiment::status(&lab.plan, &lab.store)?;
    let counts = CellState::ALL
        .map(|state| (state.name(), cells.iter().filter(|cell| cell.state == state).count()));
    let full =
        |state: StageState| json!({"present": state.num_present, "wanted": state.num_wanted});
    let cell_json = |cell: &CellStatus| {
        json!({
            "label": cell.label, "state": cell.state.name(), "rollouts": full(cell.rollouts),
            "grades": full(cell.grades), "rewards": cell.rewards.map(full),
            "steps": cell.steps.map(full), "failed-records": cell.num_failed,
        })
    };
    let mut value = json!({"cells": cells.iter().map(cell_json).collect::<Vec<_>>()});
    for (name, count) in counts {
        value[name] = json!(count);
    }
    output.json(&value);
    let shown = |state: StageState| format!("{}/{}", state.num_present, state.num_wanted);
    let row = |cell: &CellStatus| {
        vec![
            cell.state.name().to_owned(),
            shown(cell.rollouts),
            shown(cell.grades),
            cell.rewards.map_or_else(|| "-".to_owned(), shown),
            cell.steps.map_or_else(|| "-".to_owned(), shown),
            cell.num_failed.to_string(),
            cell.label.clone(),
        ]
    };
    let rows: Vec<_> = cells.iter().map(row).collect();
    let header = ["state", "rollouts", "grades", "rewards", "steps", "failed records", "cell"];
    output.table(&header, &rows);
    output.text(counts.map(|(name, count)| format!("{count} {name}")).join(", "));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn store(command: &StoreCommand, output: &Output) -> Result<ExitCode, Failure> {
    let StoreCommand::Verify { store } = command;
    let verification = Store::open(store)?.verify()?;
    let describe = |finding: &Finding| match finding {
        Finding::WrongSpec { folder } => {
            format!(
                "`{}`: its specification does not have the digest that names it",
                folder.display()
            )
        }
        Finding::BadLine { path, line } => {
            format!(
                "`{}`, line {line}: not a whole record; it is made again by the next run",
                path.display()
            )
        }
        Finding::Unreadable { path, line, key, detail } => {
            format!(
                "`{}`, line {line}: record `{key}` is not readable ({detail}); it is made again by the next run",
                path.display()
            )
        }
        Finding::Conflict { folder, key } => {
            format!("`{}`: record `{key}` occurs with two values", folder.display())
        }
        Finding::WrongPlan { path } => {
            format!("`{}`: its contents don't have the digest that names it", path.display())
        }
    };
    let findings: Vec<_> = verification.findings.iter().map(describe).collect();
    output.json(&json!({
        "stages": verification.num_stages, "records": verification.num_records, "findings": findings,
    }));
    for finding in &findings {
        output.text(finding);
    }
    output.text(format!(
        "{} stages, {} records, {} findings",
        verification.num_stages,
        verification.num_records,
        findings.len()
    ));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHECKS_FAILED) })
}
