//! Seconds of a training step by phase, as a mean over the training runs of an experiment.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::by_setting;
use crate::Error;
use crate::number::format_number;
use crate::table::ReadTable;

/// Phases that take a smaller share of a step are left out.
const LEAST: f64 = 0.005;

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Option<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "training_costs")? else {
        return Ok(None);
    };
    // Reports of earlier versions call the column otherwise.
    if !table.has("seconds_per_step") {
        return Ok(None);
    }
    let seconds = table.numbers("seconds_per_step")?;
    let rows: Vec<(String, f64)> = table
        .texts("phase")?
        .into_iter()
        .zip(seconds)
        .filter_map(|(phase, seconds)| Some((phase, seconds?)))
        .collect();
    let phases = by_setting(rows, |(phase, _)| phase);
    let num_kinds = phases.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
    let mean = |rows: &[(String, f64)]| {
        rows.iter().map(|(_, seconds)| seconds).sum::<f64>() / num_kinds as f64
    };
    let total: f64 = phases.iter().map(|(_, rows)| mean(rows)).sum();
    let bar = |(phase, rows): &(String, Vec<(String, f64)>)| {
        let value = mean(rows);
        (value >= LEAST * total).then(|| Bar {
            name: phase.replace('-', " "),
            value,
            low: value,
            high: value,
            text: format!("{} s, {:.0} %", format_number(value), 100.0 * value / total),
            label: "seconds".to_owned(),
            is_bound: false,
        })
    };
    let bars = phases.iter().filter_map(bar).collect();
    let kinds = if num_kinds == 1 { "1 kind".to_owned() } else { format!("{num_kinds} kinds") };
    let words = Words {
        name: "step-time".to_owned(),
        title: format!("Where do the {} s of a training step go?", format_number(total)),
        caption: "Seconds per step on the machine that ran it.".to_owned(),
        footer: format!("mean over steps and seeds of {kinds} of training"),
    };
    let (axis, text) = ("seconds per step", "seconds, share");
    Bars { words, axis, text, origin: 0.0, shown: (0.0, 0.0), bars }.save(sheet)
}
