//! `plan`, `run`, `report`, `status` and `store verify`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::HumanBytes;
use preceptor_experiment::{
    CallDemand, CellState, CellStatus, Document, Expense, ModelHost as _, Models, NoProgress, Plan,
    ResolveOptions, RoleCost, RunOptions, RunSummary, Speed, StageState, TrainDemand,
    calibrate_speed, resolve,
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
use crate::terminal::{Terminal, time};

/// The exit code for a command that worked and found something wrong.
pub(crate) const CHECKS_FAILED: u8 = 1;
/// Share of prompts on which two aggregators are assumed to disagree when power is estimated.
const ASSUMED_DISAGREEMENT: f64 = 0.2;
/// Floating-point operations a second that a graphics card's hours are counted with: half of what an
/// H100 multiplies in half precision.
const ASSUMED_TFLOPS: f64 = 400.0;

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
    Ok(Lab { plan, models, store: Store::open(&arguments.store)? })
}

pub(crate) fn plan(arguments: &ExperimentArguments, output: &Output) -> Result<ExitCode, Failure> {
    print_plan(&mut open_to_plan(arguments)?, output)?;
    Ok(ExitCode::SUCCESS)
}

/// A training with what is known of its model.
struct Priced {
    demand: TrainDemand,
    speed: Option<Speed>,
    max_flops: Option<f64>,
    /// Bytes of checkpoints once it is finished, and at most before.
    disk: Option<[u64; 2]>,
}

/// The trainings of a plan; models whose steps nothing is known of are measured for some seconds.
fn price_trainings(lab: &mut Lab) -> Result<Vec<Priced>, Failure> {
    let mut speeds: BTreeMap<String, Speed> = BTreeMap::new();
    let mut measured = BTreeSet::new();
    let mut priced = Vec::new();
    for demand in lab.plan.train_demands(&lab.store)? {
        let is_open = demand.num_present < demand.num_steps && demand.secs_a_step.is_none();
        let is_here = lab.models.absent().all(|name| name != demand.model);
        if is_open && is_here && measured.insert(demand.model.clone()) {
            let speed = calibrate_speed(&mut lab.models, &demand.model)?;
            speeds.extend(speed.map(|speed| (demand.model.clone(), speed)));
        }
        let num_parameters = lab.models.num_parameters(&demand.model);
        priced.push(Priced {
            speed: speeds.get(&demand.model).copied(),
            max_flops: num_parameters.map(|number| demand.max_flops(number)),
            disk: num_parameters
                .zip(demand.checkpoint_bytes)
                .map(|(n, bytes)| bytes.map(|b| b * n)),
            demand,
        });
    }
    Ok(priced)
}

pub(crate) fn print_plan(lab: &mut Lab, output: &Output) -> Result<(), Failure> {
    let trainings = price_trainings(lab)?;
    let stages = lab.plan.summarize(&lab.store)?;
    let calls = lab.plan.call_demands(&lab.store)?;
    let expenses = lab.plan.expenses(&lab.store, &lab.models)?;
    let record = lab.plan.record();
    let missing: u64 = stages.iter().map(|s| s.state.num_wanted - s.state.num_present).sum();
    let tokens: u64 = stages.iter().map(|s| s.max_new_tokens).sum();
    let estimates: Option<Vec<f64>> = stages
        .iter()
        .filter(|s| s.state.num_present < s.state.num_wanted)
        .map(|s| s.estimated_secs)
        .collect();
    let estimated_secs = estimates.map(|secs| secs.iter().sum::<f64>());

    output.json(&json!({
        "experiment": lab.plan.experiment(),
        "title": lab.plan.title(),
        "axes": record.axes,
        "seeds": record.seeds,
        "cells": record.cells.iter().map(|cell| json!({
            "id": cell.id, "axes": cell.axes, "seed": cell.seed, "stages": cell.stages,
        })).collect::<Vec<_>>(),
        "left-out": record.left_out,
        "absent-models": lab.models.absent().collect::<Vec<_>>(),
        "rollout-stages": stages.iter().map(|s| json!({
            "label": s.label, "digest": s.digest, "present": s.state.num_present,
            "wanted": s.state.num_wanted, "max-new-tokens": s.max_new_tokens,
            "estimated-secs": s.estimated_secs,
        })).collect::<Vec<_>>(),
        "calls": calls.iter().map(|c| json!({
            "label": c.label, "present": c.state.num_present, "wanted": c.state.num_wanted,
            "replies": c.num_replies, "judged": c.num_judged, "scored": c.num_scored,
            "rollouts-read": c.num_rollouts_read,
        })).collect::<Vec<_>>(),
        "expenses": expenses.iter().map(|e| json!({
            "endpoint": e.endpoint, "prompt-tokens": e.usage.num_prompt_tokens,
            "generated-tokens": e.usage.num_generated_tokens, "money": e.money,
        })).collect::<Vec<_>>(),
        "trainings": trainings.iter().map(|Priced { demand, speed, max_flops, disk }| json!({
            "label": demand.label, "steps": demand.num_steps, "present": demand.num_present,
            "rollouts": demand.num_rollouts, "max-new-tokens": demand.max_new_tokens,
            "max-trained-tokens": demand.max_trained_tokens, "max-flops": max_flops,
            "checkpoint-bytes": disk.map(|[finished, _]| finished),
            "estimated-secs": demand.estimated_secs(*speed),
        })).collect::<Vec<_>>(),
        "notices": lab.plan.notices(),
        "missing-rollouts": missing,
        "max-new-tokens": tokens,
        "estimated-secs": estimated_secs,
        "settings": record.settings,
    }));

    output.text(format!("{}: {}", lab.plan.experiment(), lab.plan.title()));
    for axis in &record.axes {
        output.text(format!("  {} = {}", axis.key, axis.values.join(", ")));
    }
    let seeds = record.seeds.iter().map(u64::to_string).collect::<Vec<_>>();
    output.text(format!("  seeds = {}", seeds.join(", ")));
    let counted = |num: usize, one: &str| match num {
        1 => format!("1 {one}"),
        _ => format!("{num} {one}s"),
    };
    let (cells, sets) = (counted(record.cells.len(), "cell"), counted(stages.len(), "set"));
    output.text(format!("{cells} and {sets} of rollouts:\n"));
    let rows: Vec<_> = stages
        .iter()
        .map(|stage| {
            let state = stage.state;
            let estimate = stage.estimated_secs.map(|secs| time(Duration::from_secs_f64(secs)));
            vec![
                stage.label.clone(),
                state.num_wanted.to_string(),
                state.num_present.to_string(),
                (state.num_wanted - state.num_present).to_string(),
                stage.max_new_tokens.to_string(),
                estimate.unwrap_or_else(|| "unknown".to_owned()),
            ]
        })
        .collect();
    output.table(&["rollouts", "wanted", "in store", "to draw", "new tokens <=", "time"], &rows);
    output.text("");
    if !calls.is_empty() {
        let row = |call: &CallDemand| {
            let (present, wanted) = (call.state.num_present, call.state.num_wanted);
            let counts = [
                wanted,
                present,
                call.num_replies,
                call.num_judged,
                call.num_scored,
                call.num_rollouts_read,
            ];
            let counts = counts.map(|count| count.to_string());
            [call.label.clone()].into_iter().chain(counts).collect::<Vec<_>>()
        };
        let rows: Vec<_> = calls.iter().map(row).collect();
        let header = [
            "asked of models",
            "wanted",
            "in store",
            "replies",
            "judged",
            "scored",
            "rollouts read",
        ];
        output.table(&header, &rows);
        output.text(
            "Counts are of first attempts; the same question to the same model is asked once.",
        );
        output.text("");
    }
    if !trainings.is_empty() {
        let row = |Priced { demand, speed, max_flops, .. }: &Priced| {
            let estimate = demand.estimated_secs(*speed);
            let at_most = if demand.secs_a_step.is_some() { "" } else { "<= " };
            let estimate = estimate.map(|secs| time(Duration::from_secs_f64(secs)));
            vec![
                demand.label.clone(),
                demand.num_steps.to_string(),
                demand.num_present.to_string(),
                demand.num_rollouts.to_string(),
                demand.max_new_tokens.to_string(),
                demand.max_trained_tokens.to_string(),
                max_flops.map_or_else(|| "unknown".to_owned(), |flops| format!("{flops:.1e}")),
                estimate.map_or_else(|| "unknown".to_owned(), |time| format!("{at_most}{time}")),
            ]
        };
        let header = [
            "trainings",
            "steps",
            "in store",
            "rollouts",
            "new tokens <=",
            "trained on <=",
            "FLOPs <=",
            "time",
        ];
        output.table(&header, &trainings.iter().map(row).collect::<Vec<_>>());
        output.text("");
    }
    for notice in lab.plan.notices() {
        output.text(notice);
    }
    for name in lab.models.absent() {
        output.text(format!(
            "`{name}` is not here: its speed is unknown, and the store is not looked through for it; \
             `preceptor models fetch {name}`."
        ));
    }
    let flops: f64 = trainings.iter().filter_map(|priced| priced.max_flops).sum();
    if flops > 0.0 {
        output.text(format!(
            "All trainings take up to {flops:.1e} FLOPs: {} of a card that does {ASSUMED_TFLOPS} \
             TFLOP/s, which this program does not reach.",
            time(Duration::from_secs_f64(flops / (ASSUMED_TFLOPS * 1e12)))
        ));
    }
    // One training runs at a time; the others are finished.
    let open = trainings.iter().filter(|p| p.demand.num_present < p.demand.num_steps);
    let disks: Vec<[u64; 2]> = open.filter_map(|priced| priced.disk).collect();
    let kept: u64 = disks.iter().map(|[finished, _]| finished).sum();
    let while_one_runs = disks.iter().map(|[finished, most]| most - finished).max();
    if let Some(more) = while_one_runs {
        output.text(format!(
            "Checkpoints of what is still to be trained take {} of disk, and {} more while one is trained \
             (`train.keep-optimizer`).",
            HumanBytes(kept),
            HumanBytes(more)
        ));
    }
    for Expense { endpoint, usage, money } in &expenses {
        let money = money.map_or_else(|| "no prices given".to_owned(), |m| format!("{m:.4} money"));
        output.text(format!(
            "At `{endpoint}` up to about {} tokens are read and {} written, retries not counted: {money}.",
            usage.num_prompt_tokens, usage.num_generated_tokens
        ));
    }
    match estimated_secs {
        _ if missing == 0 => output.text("Nothing is to be drawn."),
        Some(secs) => output.text(format!(
            "About {} by the speed of earlier runs here.",
            time(Duration::from_secs_f64(secs))
        )),
        None => output.text("The time is not known before some rollouts were drawn here."),
    }
    let mut sizes: Vec<(String, usize)> = Vec::new();
    for cell in &record.cells {
        if !sizes.iter().any(|(name, _)| *name == cell.benchmark) {
            sizes.push((cell.benchmark.clone(), cell.prompts.len()));
        }
    }
    for (benchmark, num_prompts) in sizes {
        let points =
            100.0 * preceptor_experiment::detectable_difference(num_prompts, ASSUMED_DISAGREEMENT);
        output.text(format!(
            "{benchmark}: {num_prompts} prompts show a paired difference of {points:.1} points or more \
             (80 % power, one seed, methods disagreeing on {:.0} % of prompts).",
            100.0 * ASSUMED_DISAGREEMENT
        ));
    }
    for left_out in &record.left_out {
        output.text(format!(
            "Left out: {} ({} cells): {}",
            left_out.part, left_out.num_cells, left_out.reason
        ));
    }
    Ok(())
}

pub(crate) fn run(arguments: &RunArguments, output: &Output) -> Result<ExitCode, Failure> {
    if arguments.batch == 0 {
        return Err(Failure::input("use `--batch 0`: allowed is 1 or more", "the default is 32"));
    }
    if arguments.dry_run {
        return plan(&arguments.experiment, output);
    }
    let options = GenerationOptions { max_batch: arguments.batch };
    let mut lab = open(&arguments.experiment, options)?;
    let mut terminal = Terminal::new();
    let summary = preceptor_experiment::run(
        &lab.plan,
        &lab.store,
        &mut lab.models,
        RunOptions::default(),
        &mut terminal,
    )?;
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
    let role = |(name, cost): (&&str, &RoleCost)| {
        let failures = cost.failures.iter().map(|(kind, n)| (kind.name().to_owned(), json!(n)));
        let value = json!({
            "calls": cost.num_calls, "reused": cost.num_reused, "money": cost.money,
            "prompt-tokens": cost.usage.num_prompt_tokens,
            "generated-tokens": cost.usage.num_generated_tokens,
            "failures": failures.collect::<serde_json::Map<_, _>>(),
        });
        ((*name).to_owned(), value)
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
        if cost.money > 0.0 {
            line.push_str(&format!(", {:.4} money", cost.money));
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
