//! `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use preceptor_core::ModelRole;
use preceptor_experiment::{RoleCost, RunSummary};
use preceptor_reports::ReportOptions;
use serde_json::{Value, json};

use crate::commands::plan::print_plan;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{finish, open, open_to_plan, run_plan, write_report};
use crate::shared_arguments::{ExperimentArguments, ResourceArguments};

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

pub(crate) fn run(arguments: &RunArguments, output: &Output) -> Result<ExitCode, Failure> {
    if arguments.dry_run {
        print_plan(&mut open_to_plan(&arguments.experiment)?, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut session = open(&arguments.experiment, arguments.resources.generation())?;
    let summary = run_plan(&mut session, arguments.resources.run_options())?;
    let written = write_report(&session, arguments.reports.as_path(), ReportOptions::default())?;
    output.json(&json!({
        "rollouts-sampled": summary.num_rollouts,
        "rollouts-reused": summary.num_reused,
        "training-steps": summary.num_steps,
        "prompt-tokens": summary.usage.num_prompt_tokens,
        "generated-tokens": summary.usage.num_generated_tokens,
        "left-out": session.plan.left_out(),
        "roles": roles_json(&summary),
        "failed-records": summary.num_failed,
        "report": written,
    }));
    output.text(format!(
        "{} rollouts sampled, {} reused from the store. Report: {}",
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
