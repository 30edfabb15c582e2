//! `plan`: what an experiment would take, shown before it is begun.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::HumanBytes;
use preceptor_core::record::PlanRecord;
use preceptor_experiment::{
    CallDemand, Expense, ModelHost as _, Purpose, Speed, StageSummary, TrainDemand,
    calibrate_speed, detectable_difference,
};
use serde_json::{Value, json};

use crate::arguments::ExperimentArguments;
use crate::failure::Failure;
use crate::lab::{Lab, open_to_plan};
use crate::output::Output;
use crate::terminal::time;

/// Share of prompts on which two aggregators are assumed to disagree when power is estimated.
const ASSUMED_DISAGREEMENT: f64 = 0.2;
/// Floating-point operations a second that a graphics card's hours are counted with: half of what an
/// H100 multiplies in half precision.
const ASSUMED_TFLOPS: f64 = 400.0;

pub(crate) fn plan(arguments: &ExperimentArguments, output: &Output) -> Result<ExitCode, Failure> {
    print_plan(&mut open_to_plan(arguments)?, output)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn print_plan(lab: &mut Lab, output: &Output) -> Result<(), Failure> {
    let price = Price::of(lab)?;
    output.json(&price.json(lab));
    price.print_cells(lab, output);
    price.print_rollouts(output);
    price.print_calls(output);
    price.print_trainings(output);
    price.print_sums(lab, output);
    Ok(())
}

/// What the cells of a plan will take.
struct Price {
    record: PlanRecord,
    stages: Vec<StageSummary>,
    calls: Vec<CallDemand>,
    /// The price of each of the calls, where an endpoint with prices is asked.
    prices: Vec<Option<f64>>,
    trainings: Vec<Training>,
    expenses: Vec<Expense>,
}

/// A training with what is known of its model.
struct Training {
    demand: TrainDemand,
    speed: Option<Speed>,
    max_flops: Option<f64>,
    /// Bytes of checkpoints once it is finished, and at most before.
    disk: Option<[u64; 2]>,
}

/// The trainings of a plan; models whose steps nothing is known of are measured for some seconds.
fn trainings(lab: &mut Lab) -> Result<Vec<Training>, Failure> {
    let mut speeds: BTreeMap<String, Speed> = BTreeMap::new();
    let mut measured = BTreeSet::new();
    let mut trainings = Vec::new();
    for demand in lab.plan.train_demands(&lab.store)? {
        let is_open = demand.num_present < demand.num_steps && demand.secs_a_step.is_none();
        let is_here = lab.models.absent().all(|name| name != demand.model);
        if is_open && is_here && measured.insert(demand.model.clone()) {
            let speed = calibrate_speed(&mut lab.models, &demand.model)?;
            speeds.extend(speed.map(|speed| (demand.model.clone(), speed)));
        }
        let num_parameters = lab.models.num_parameters(&demand.model);
        let disk = |(number, bytes): (u64, [u64; 2])| bytes.map(|bytes| bytes * number);
        trainings.push(Training {
            speed: speeds.get(&demand.model).copied(),
            max_flops: num_parameters.map(|number| demand.max_flops(number)),
            disk: num_parameters.zip(demand.checkpoint_bytes).map(disk),
            demand,
        });
    }
    Ok(trainings)
}

impl Price {
    fn of(lab: &mut Lab) -> Result<Self, Failure> {
        let calls = lab.plan.call_demands(&lab.store)?;
        let price = |call: &CallDemand| -> Option<f64> {
            let priced =
                call.usage.iter().filter_map(|(model, usage)| lab.models.price(model, *usage));
            priced.reduce(|sum, price| sum + price)
        };
        Ok(Self {
            prices: calls.iter().map(price).collect(),
            calls,
            trainings: trainings(lab)?,
            record: lab.plan.record(),
            stages: lab.plan.summarize(&lab.store)?,
            expenses: lab.plan.expenses(&lab.store, &lab.models)?,
        })
    }

    /// Rollouts that are still to be drawn.
    fn num_missing(&self) -> u64 {
        self.stages.iter().map(|stage| stage.state.num_wanted - stage.state.num_present).sum()
    }

    /// Seconds for these, where earlier runs tell the speed of all.
    fn estimated_secs(&self) -> Option<f64> {
        let open = self.stages.iter().filter(|s| s.state.num_present < s.state.num_wanted);
        open.map(|stage| stage.estimated_secs).sum()
    }

    fn json(&self, lab: &Lab) -> Value {
        let Self { record, stages, calls, prices, trainings, expenses } = self;
        json!({
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
            "calls": calls.iter().zip(prices).map(|(c, price)| json!({
                "purpose": c.purpose.name(), "cost-usd": price, "label": c.label, "present": c.state.num_present, "wanted": c.state.num_wanted,
                "replies": c.num_replies, "judged": c.num_judged, "scored": c.num_scored,
                "rollouts-read": c.num_rollouts_read,
            })).collect::<Vec<_>>(),
            "expenses": expenses.iter().map(|e| json!({
                "endpoint": e.endpoint, "prompt-tokens": e.usage.num_prompt_tokens,
                "generated-tokens": e.usage.num_generated_tokens, "cost-usd": e.cost_usd,
            })).collect::<Vec<_>>(),
            "trainings": trainings.iter().map(|t| json!({
                "label": t.demand.label, "steps": t.demand.num_steps,
                "present": t.demand.num_present, "rollouts": t.demand.num_rollouts,
                "max-new-tokens": t.demand.max_new_tokens,
                "max-trained-tokens": t.demand.max_trained_tokens, "max-flops": t.max_flops,
                "checkpoint-bytes": t.disk.map(|[finished, _]| finished),
                "estimated-secs": t.demand.estimated_secs(t.speed),
            })).collect::<Vec<_>>(),
            "notices": lab.plan.notices(),
            "missing-rollouts": self.num_missing(),
            "max-new-tokens": stages.iter().map(|stage| stage.max_new_tokens).sum::<u64>(),
            "estimated-secs": self.estimated_secs(),
            "settings": record.settings,
        })
    }

    fn print_cells(&self, lab: &Lab, output: &Output) {
        let Self { record, stages, .. } = self;
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
                stage.estimated_secs.map_or_else(unknown, in_time),
            ]
        };
        let header = ["rollouts", "wanted", "in store", "to draw", "new tokens <=", "time"];
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
            "asked of models",
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
            "Counts are of first attempts; the same question to the same model is asked once.",
        );
        output.text("");
    }

    /// The cost of all calls, by purpose.
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
            output.text(format!("Cost in USD at most, by purpose: {}.", parts.join(", ")));
        }
    }

    fn print_trainings(&self, output: &Output) {
        if self.trainings.is_empty() {
            return;
        }
        let row = |Training { demand, speed, max_flops, .. }: &Training| {
            let at_most = if demand.secs_a_step.is_some() { "" } else { "<= " };
            let estimate = demand.estimated_secs(*speed);
            vec![
                demand.label.clone(),
                demand.num_steps.to_string(),
                demand.num_present.to_string(),
                demand.num_rollouts.to_string(),
                demand.max_new_tokens.to_string(),
                demand.max_trained_tokens.to_string(),
                max_flops.map_or_else(unknown, |flops| format!("{flops:.1e}")),
                estimate.map_or_else(unknown, |secs| format!("{at_most}{}", in_time(secs))),
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
        output.table(&header, &self.trainings.iter().map(row).collect::<Vec<_>>());
        output.text("");
    }

    fn print_sums(&self, lab: &Lab, output: &Output) {
        for notice in lab.plan.notices() {
            output.text(notice);
        }
        for name in lab.models.absent() {
            output.text(format!(
                "`{name}` is not here: its speed is unknown, and the store is not looked through for it; \
                 `preceptor models fetch {name}`."
            ));
        }
        let flops: f64 = self.trainings.iter().filter_map(|training| training.max_flops).sum();
        if flops > 0.0 {
            output.text(format!(
                "All trainings take up to {flops:.1e} FLOPs: {} of a card that does {ASSUMED_TFLOPS} \
                 TFLOP/s, which this program does not reach.",
                in_time(flops / (ASSUMED_TFLOPS * 1e12))
            ));
        }
        let open = self.trainings.iter().filter(|t| t.demand.num_present < t.demand.num_steps);
        let disks: Vec<[u64; 2]> = open.filter_map(|training| training.disk).collect();
        // One training runs at a time; the others are finished.
        if let Some(more) = disks.iter().map(|[finished, most]| most - finished).max() {
            let finished = disks.iter().map(|[finished, _]| finished).sum();
            output.text(format!(
                "Checkpoints of what is still to be trained take {} of disk, and {} more while one is \
                 trained (`train.keep-optimizer`).",
                HumanBytes(finished),
                HumanBytes(more)
            ));
        }
        for Expense { endpoint, usage, cost_usd } in &self.expenses {
            let cost =
                cost_usd.map_or_else(|| "no prices given".to_owned(), |m| format!("{m:.4} USD"));
            output.text(format!(
                "At `{endpoint}` up to about {} tokens are read and {} written, retries not counted: {cost}.",
                usage.num_prompt_tokens, usage.num_generated_tokens
            ));
        }
        match self.estimated_secs() {
            _ if self.num_missing() == 0 => output.text("Nothing is to be drawn."),
            Some(secs) => {
                output.text(format!("About {} by the speed of earlier runs here.", in_time(secs)));
            }
            None => output.text("The time is not known before some rollouts were drawn here."),
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
                "{benchmark}: {num_prompts} prompts show a paired difference of {points:.1} points or \
                 more (80 % power, one seed, methods disagreeing on {:.0} % of prompts).",
                100.0 * ASSUMED_DISAGREEMENT
            ));
        }
        for left_out in &self.record.left_out {
            output.text(format!(
                "Left out: {} ({} cells): {}",
                left_out.part, left_out.num_cells, left_out.reason
            ));
        }
    }
}

fn in_time(secs: f64) -> String {
    time(Duration::from_secs_f64(secs))
}

fn unknown() -> String {
    "unknown".to_owned()
}
