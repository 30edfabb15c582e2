//! `plan`: the cost of an experiment before it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;
use preceptor_core::lacking_controls;
use preceptor_core::record::PlanRecord;
use preceptor_experiment::{
    CallDemand, Counting, Estimate, Expense, HeldWeights, ModelDirectory as _, Purpose, Speed,
    StageSummary, TrainDemand, calibrate_speed, detectable_difference,
};
use serde_json::{Value, json};

use crate::commands::estimate::ShownEstimate;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{Session, open_to_plan};
use crate::shared_arguments::ExperimentArguments;
use crate::terminal::time;

/// Share of prompts on which two aggregators are assumed to disagree when power is estimated.
const ASSUMED_DISAGREEMENT: f64 = 0.2;
/// Floating-point operations per second that GPU hours are counted with: about half of an H100's peak
/// in half precision.
const ASSUMED_TFLOPS: f64 = 400.0;

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArguments,
    /// Measure the speed of the servers of `[rollouts]` with their base model, which takes them some seconds.
    #[arg(long)]
    pub(crate) probe: bool,
}

pub(crate) fn plan(arguments: &PlanArguments, output: &Output) -> Result<ExitCode, Failure> {
    let mut session = open_to_plan(&arguments.experiment)?;
    if arguments.probe {
        let Some(speed) = session.plan.probe_servers(&session.models)? else {
            return Err(Failure::input(
                "use `--probe`: the manifest names no rollout servers",
                "it measures the servers of a `[rollouts]` table; leave it out",
            ));
        };
        eprintln!("each rollout server samples {speed:.0} tokens per second");
    }
    print_plan(&mut session, output)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn print_plan(session: &mut Session, output: &Output) -> Result<(), Failure> {
    let price = Price::of(session)?;
    output.json(&price.json(session));
    price.print_cells(session, output);
    price.print_estimate(session, output);
    price.print_rollouts(output);
    price.print_calls(output);
    price.print_training_runs(output);
    price.print_sums(session, output);
    Ok(())
}

/// Cost of the cells of a plan.
struct Price {
    record: PlanRecord,
    stages: Vec<StageSummary>,
    calls: Vec<CallDemand>,
    /// Price of each of the calls in USD, where an endpoint with prices is asked.
    prices: Vec<Option<f64>>,
    training_runs: Vec<Training>,
    expenses: Vec<Expense>,
    /// Time and cost of what is missing, if speeds are known.
    estimate: Option<Estimate>,
    held: Vec<HeldWeights>,
}

/// A training run with the speed and size of its model.
struct Training {
    demand: TrainDemand,
    speed: Option<Speed>,
    max_flops: Option<f64>,
    /// Bytes of checkpoints once it is finished, and at most before.
    disk: Option<[u64; 2]>,
}

/// Returns the training runs of a plan. A model whose speed is unknown is measured for some seconds, and its
/// speed added to `speeds`.
fn training_runs(
    session: &mut Session,
    speeds: &mut BTreeMap<String, Speed>,
) -> Result<Vec<Training>, Failure> {
    let is_stated = session.plan.estimate_settings().trained_per_sec.is_some();
    let mut measured = BTreeSet::new();
    let mut training_runs = Vec::new();
    for demand in session.plan.train_demands(&session.store)? {
        let is_open = demand.num_present < demand.num_steps && demand.secs_per_step.is_none();
        let is_here = session.models.absent().all(|name| name != demand.model);
        if is_open && is_here && !is_stated && measured.insert(demand.model.clone()) {
            let speed = calibrate_speed(&mut session.models, &demand.model)?;
            speeds.extend(speed.map(|speed| (demand.model.clone(), speed)));
        }
        let num_parameters = session.models.num_parameters(&demand.model);
        let disk = |(number, bytes): (u64, [u64; 2])| bytes.map(|bytes| bytes * number);
        training_runs.push(Training {
            speed: session.plan.training_speed(&demand, &session.models, speeds),
            max_flops: num_parameters.map(|number| demand.max_flops(number)),
            disk: num_parameters.zip(demand.checkpoint_bytes).map(disk),
            demand,
        });
    }
    Ok(training_runs)
}

impl Price {
    fn of(session: &mut Session) -> Result<Self, Failure> {
        let mut speeds = BTreeMap::new();
        let training_runs = training_runs(session, &mut speeds)?;
        let mut counting = Counting::missing(&session.store);
        let estimate = session.plan.estimate(&mut counting, &session.models, &speeds)?;
        let is_known = session.plan.estimate_settings().weights.is_some() || !speeds.is_empty();
        let calls = session.plan.call_demands(&session.store)?;
        let price = |call: &CallDemand| -> Option<f64> {
            let priced =
                call.usage.iter().filter_map(|(model, usage)| session.models.price(model, *usage));
            priced.reduce(|sum, price| sum + price)
        };
        Ok(Self {
            prices: calls.iter().map(price).collect(),
            calls,
            training_runs,
            estimate: is_known.then_some(estimate),
            held: session.plan.held_weights(&session.models),
            record: session.plan.record(),
            stages: session.plan.summarize(&session.store)?,
            expenses: session.plan.expenses(&session.store, &session.models)?,
        })
    }

    /// Returns the number of rollouts that are still to be sampled.
    fn num_missing(&self) -> u64 {
        self.stages.iter().map(|stage| stage.state.num_wanted - stage.state.num_present).sum()
    }

    /// Returns the seconds that these take, if earlier runs measured the speed of all.
    fn estimated_secs(&self) -> Option<f64> {
        let open = self.stages.iter().filter(|s| s.state.num_present < s.state.num_wanted);
        open.map(|stage| stage.estimated_secs).sum()
    }

    fn json(&self, session: &Session) -> Value {
        let Self { record, stages, calls, prices, training_runs, expenses, .. } = self;
        json!({
            "experiment": session.plan.experiment(),
            "title": session.plan.title(),
            "axes": record.axes,
            "seeds": record.seeds,
            "cells": record.cells.iter().map(|cell| json!({
                "id": cell.id, "axes": cell.axes, "seed": cell.seed, "stages": cell.stages,
            })).collect::<Vec<_>>(),
            "left-out": record.left_out,
            "absent-models": session.models.absent().collect::<Vec<_>>(),
            "rollout-stages": stages.iter().map(|s| json!({
                "label": s.label, "digest": s.digest, "present": s.state.num_present,
                "wanted": s.state.num_wanted, "max-new-tokens": s.max_new_tokens,
                "estimated-secs": s.estimated_secs,
            })).collect::<Vec<_>>(),
            "calls": calls.iter().zip(prices).map(|(c, price)| json!({
                "purpose": c.purpose.name(), "cost-usd": price, "label": c.label, "present": c.state.num_present, "wanted": c.state.num_wanted,
                "replies": c.num_replies, "judged": c.num_judged, "scored": c.num_scored,
                "rollouts-read": c.num_rollouts_read,
            })).collect::<Vec<_>>(),
            "expenses": expenses.iter().map(|e| json!({
                "endpoint": e.endpoint, "prompt-tokens": e.usage.num_prompt_tokens,
                "generated-tokens": e.usage.num_generated_tokens, "cost-usd": e.cost_usd,
            })).collect::<Vec<_>>(),
            "training-runs": training_runs.iter().map(|t| json!({
                "label": t.demand.label, "steps": t.demand.num_steps,
                "present": t.demand.num_present, "rollouts": t.demand.num_rollouts,
                "max-new-tokens": t.demand.max_new_tokens,
                "max-trained-tokens": t.demand.max_trained_tokens, "max-flops": t.max_flops,
                "checkpoint-bytes": t.disk.map(|[finished, _]| finished),
                "estimated-secs": t.demand.estimated_secs(t.speed),
            })).collect::<Vec<_>>(),
            "estimate": self.shown_estimate(session).map(|shown| shown.json()),
            "notices": session.plan.notices(),
            "missing-rollouts": self.num_missing(),
            "max-new-tokens": stages.iter().map(|stage| stage.max_new_tokens).sum::<u64>(),
            "estimated-secs": self.estimated_secs(),
            "settings": record.settings,
        })
    }

    fn shown_estimate<'e>(&'e self, session: &'e Session) -> Option<ShownEstimate<'e>> {
        self.estimate.as_ref().map(|estimate| ShownEstimate {
            estimate,
            settings: session.plan.estimate_settings(),
            num_gpus: session.plan.num_gpus(),
            held: &self.held,
        })
    }

    fn print_estimate(&self, session: &Session, output: &Output) {
        if let Some(shown) = self.shown_estimate(session) {
            shown.lines().iter().for_each(|line| output.text(line));
            output.text("");
        }
    }

    fn print_cells(&self, session: &Session, output: &Output) {
        let Self { record, stages, .. } = self;
        output.text(format!("{}: {}", session.plan.experiment(), session.plan.title()));
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
    }

    fn print_rollouts(&self, output: &Output) {
        let row = |stage: &StageSummary| {
            let state = stage.state;
            vec![
                stage.label.clone(),
                state.num_wanted.to_string(),
                state.num_present.to_string(),
                (state.num_wanted - state.num_present).to_string(),
                stage.max_new_tokens.to_string(),
                stage.estimated_secs.map_or_else(unknown, format_secs),
            ]
        };
        let header = ["rollouts", "wanted", "in store", "missing", "new tokens <=", "time"];
        output.table(&header, &self.stages.iter().map(row).collect::<Vec<_>>());
        output.text("");
    }

    fn print_calls(&self, output: &Output) {
        if self.calls.is_empty() {
            return;
        }
        let row = |(call, price): (&CallDemand, &Option<f64>)| {
            let counts = [
                call.state.num_wanted,
                call.state.num_present,
                call.num_replies,
                call.num_judged,
                call.num_scored,
                call.num_rollouts_read,
            ];
            let counts = counts.map(|count| count.to_string());
            let cost = price.map_or_else(|| "-".to_owned(), |usd| format!("{usd:.2}"));
            let cells = [call.purpose.name().to_owned(), call.label.clone()].into_iter();
            cells.chain(counts).chain([cost]).collect::<Vec<_>>()
        };
        let header = [
            "purpose",
            "calls",
            "wanted",
            "in store",
            "replies",
            "judged",
            "scored",
            "rollouts read",
            "USD <=",
        ];
        let rows = self.calls.iter().zip(&self.prices).map(row).collect::<Vec<_>>();
        output.table(&header, &rows);
        self.print_costs(output);
        output.text(
            "Counts include first attempts only. Identical questions to one model are asked once.",
        );
        output.text("");
    }

    /// Prints the cost of all calls, by purpose.
    fn print_costs(&self, output: &Output) {
        let mut sums: BTreeMap<Purpose, f64> = BTreeMap::new();
        for (call, price) in self.calls.iter().zip(&self.prices) {
            if let Some(price) = price {
                *sums.entry(call.purpose).or_default() += price;
            }
        }
        let parts: Vec<_> =
            sums.iter().map(|(purpose, usd)| format!("{} {usd:.2}", purpose.name())).collect();
        if !parts.is_empty() {
            output.text(format!("Highest cost in USD, by purpose: {}.", parts.join(", ")));
        }
    }

    fn print_training_runs(&self, output: &Output) {
        if self.training_runs.is_empty() {
            return;
        }
        let row = |Training { demand, speed, max_flops, .. }: &Training| {
            let at_most = if demand.secs_per_step.is_some() { "" } else { "<= " };
            let estimate = demand.estimated_secs(*speed);
            vec![
                demand.label.clone(),
                demand.num_steps.to_string(),
                demand.num_present.to_string(),
                demand.num_rollouts.to_string(),
                demand.max_new_tokens.to_string(),
                demand.max_trained_tokens.to_string(),
                max_flops.map_or_else(unknown, |flops| format!("{flops:.1e}")),
                estimate.map_or_else(unknown, |secs| format!("{at_most}{}", format_secs(secs))),
            ]
        };
        let header = [
            "training runs",
            "steps",
            "in store",
            "rollouts",
            "new tokens <=",
            "trained on <=",
            "FLOPs <=",
            "time",
        ];
        let rows: Vec<_> = self.training_runs.iter().map(row).collect();
        output.table(&header, &rows);
        if rows.iter().flatten().any(|cell| cell.starts_with("<= ")) {
            output.text(
                "Times with `<=` are of sampling and updates, without pseudo-references, rewards and grades.",
            );
        }
        output.text("");
    }

    fn print_sums(&self, session: &Session, output: &Output) {
        for notice in session.plan.notices() {
            output.text(notice);
        }
        if let Some(lack) = lacking_controls([&self.record]) {
            output.text(lack);
        }
        for name in session.models.absent() {
            output.text(format!(
                "`{name}` is not downloaded, so its speed and its stored records are unknown: \
                 run `preceptor models fetch {name}`."
            ));
        }
        let flops: f64 = self.training_runs.iter().filter_map(|training| training.max_flops).sum();
        if flops > 0.0 && self.estimate.is_none() {
            output.text(format!(
                "All training runs take up to {flops:.1e} FLOPs: {} on a GPU at {ASSUMED_TFLOPS} TFLOP/s, \
                 which this program does not reach.",
                format_secs(flops / (ASSUMED_TFLOPS * 1e12))
            ));
        }
        let open = self.training_runs.iter().filter(|t| t.demand.num_present < t.demand.num_steps);
        let disks: Vec<[u64; 2]> = open.filter_map(|training| training.disk).collect();
        // One training run is in progress at a time; the others are finished.
        if let Some(more) = disks.iter().map(|[finished, most]| most - finished).max() {
            let finished = disks.iter().map(|[finished, _]| finished).sum();
            output.text(format!(
                "Checkpoints of the remaining training runs take {} of disk, and {} more during training \
                 (`train.keep-optimizer`).",
                HumanBytes(finished),
                HumanBytes(more)
            ));
        }
        for Expense { endpoint, usage, cost_usd } in &self.expenses {
            let cost =
                cost_usd.map_or_else(|| "no prices given".to_owned(), |m| format!("{m:.4} USD"));
            output.text(format!(
                "`{endpoint}` reads up to about {} tokens and writes {}, without retries: {cost}.",
                usage.num_prompt_tokens, usage.num_generated_tokens
            ));
        }
        match self.estimated_secs() {
            _ if self.num_missing() == 0 => output.text("All rollouts are in the store."),
            Some(secs) => {
                output.text(format!("About {} at the speed of earlier runs.", format_secs(secs)));
            }
            None if self.estimate.is_some() => {}
            None => output.text(
                "No time estimate yet: sample a few rollouts first, for example with `--limit 2`.",
            ),
        }
        let mut sizes: Vec<(&str, usize)> = Vec::new();
        for cell in &self.record.cells {
            if !sizes.iter().any(|(name, _)| *name == cell.benchmark) {
                sizes.push((&cell.benchmark, cell.prompts.len()));
            }
        }
        for (benchmark, num_prompts) in sizes {
            let points = 100.0 * detectable_difference(num_prompts, ASSUMED_DISAGREEMENT);
            output.text(format!(
                "{benchmark}: {num_prompts} prompts detect a paired difference of {points:.1} points or more \
                 (80% power, one seed, methods that disagree on {:.0}% of prompts).",
                100.0 * ASSUMED_DISAGREEMENT
            ));
        }
        for left_out in &self.record.left_out {
            output.text(format!(
                "Skipped: {} ({} cells): {}",
                left_out.part, left_out.num_cells, left_out.reason
            ));
        }
    }
}

fn format_secs(secs: f64) -> String {
    time(Duration::from_secs_f64(secs))
}

fn unknown() -> String {
    "unknown".to_owned()
}
