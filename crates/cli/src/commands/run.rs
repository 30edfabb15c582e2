//! `run`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use preceptor_core::ModelRole;
use preceptor_experiment::{RoleCost, RunSummary};
use preceptor_reports::ReportOptions;
use serde_json::{Value, json};

use crate::commands::plan::print_plan;
use crate::failure::Failure;
use crate::output::Output;
use crate::run_state::RunDemand;
use crate::session::{Session, finish, open_to_plan, open_unit, run_shown, write_report};
use crate::shared_arguments::{ExperimentArguments, ResourceArguments, UnitArguments};
use crate::terminal::Terminal;

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    #[command(flatten)]
    pub(crate) unit: UnitArguments,
    /// Show the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) resources: ResourceArguments,
    /// The folder that reports are written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub(crate) reports: PathBuf,
    /// Show the state of the whole run: cells that are done, running and waiting, tokens per second, cost so
    /// far, failures and time left.
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two lines of `--watch` where the output is no terminal.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) every: u64,
}

pub(crate) fn run(arguments: &RunArguments, output: &Output) -> Result<ExitCode, Failure> {
    if arguments.dry_run {
        print_plan(&mut open_to_plan(&arguments.experiment)?, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let generation = arguments.resources.generation();
    let mut session = open_unit(&arguments.experiment, &arguments.unit, generation)?;
    let mut terminal = Terminal::new();
    if arguments.watch {
        let demand = RunDemand::of(&session.plan, &session.store)?;
        terminal = terminal.watched(demand, Duration::from_secs(arguments.every));
    }
    let summary = run_shown(&mut session, arguments.resources.run_options(), terminal)?;
    if let Some(index) = arguments.unit.only_unit {
        return finish_unit(index, &session, &summary, output);
    }
    let written = write_report(&session, arguments.reports.as_path(), ReportOptions::default())?;
    let mut value = summary_json(&session, &summary);
    value["report"] = written.clone();
    output.json(&value);
    output.text(format!(
        "{} rollouts sampled, {} reused from the store. Report: {}",
        summary.num_rollouts,
        summary.num_reused,
        written["page"].as_str().unwrap_or_default()
    ));
    finish(&summary, output)
}

/// Says what a unit of work did. Its cells are a part of the experiment, so there is no report.
fn finish_unit(
    index: usize,
    session: &Session,
    summary: &RunSummary,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let mut value = summary_json(session, summary);
    value["unit"] = json!(index);
    output.json(&value);
    let RunSummary { num_rollouts, num_reused, num_steps, num_failed, .. } = summary;
    let num_calls: u64 = summary.roles.values().map(|cost| cost.num_calls).sum();
    if num_rollouts + num_steps + num_calls + num_failed == 0 {
        output.text(format!("Unit {index} has nothing to do: its records are stored."));
    } else {
        output.text(format!(
            "Unit {index}: {num_rollouts} rollouts sampled, {num_reused} reused from the store, {num_steps} training steps."
        ));
    }
    finish(summary, output)
}

fn summary_json(session: &Session, summary: &RunSummary) -> Value {
    json!({
        "rollouts-sampled": summary.num_rollouts,
        "rollouts-reused": summary.num_reused,
        "training-steps": summary.num_steps,
        "prompt-tokens": summary.usage.num_prompt_tokens,
        "generated-tokens": summary.usage.num_generated_tokens,
        "left-out": session.plan.left_out(),
        "roles": roles_json(summary),
        "failed-records": summary.num_failed,
    })
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
