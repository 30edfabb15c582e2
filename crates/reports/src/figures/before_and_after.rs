//! The score of the initial policy, of each trained policy, and of the estimates made from the
//! trained policy's rollouts: what training adds, and what an estimate adds to it.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::{at_largest, by_setting, count_range, read_scores};
use super::training_table::line_names;
use crate::Error;
use crate::file::file_name;
use crate::number::format_number;
use crate::table::ReadTable;

struct Row {
    benchmark: String,
    name: String,
    step: Option<f64>,
    numbers: (f64, f64, f64),
    is_bound: bool,
}

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let training = ReadTable::read_if_there(tables, "training_scores")?;
    let scores = ReadTable::read_if_there(tables, "scores")?;
    let (Some(training), Some(scores)) = (training, scores) else { return Ok(Vec::new()) };
    let estimates = read_scores(&scores)?;
    let seeds = count_range(&training.numbers("seeds")?, "seed");
    let prompts = count_range(&training.numbers("prompts")?, "prompt");
    let mut drawn = Vec::new();
    for (benchmark, rows) in by_setting(read(&training)?, |row| &row.benchmark) {
        let mut bars = Vec::new();
        if let Some(initial) = rows.iter().find(|row| row.step == Some(0.0)) {
            bars.push(bar("initial policy".to_owned(), "initial policy", initial.numbers, false));
        }
        for (name, rows) in by_setting(rows, |row| &row.name) {
            // The last row is the step that is reported.
            let Some(last) = rows.last().filter(|row| row.step != Some(0.0)) else { continue };
            bars.push(bar(format!("trained on {name}"), &name, last.numbers, last.is_bound));
        }
        let of_benchmark: Vec<_> = estimates
            .iter()
            .filter(|row| row.is_trained && row.setting.split(", ").next() == Some(&benchmark))
            .cloned()
            .collect();
        // More bars than these are in the figure of scores.
        if of_benchmark.len() <= 3 {
            for row in at_largest(&of_benchmark) {
                let name = format!("trained, then {} of its rollouts", row.aggregator);
                let numbers = (row.score, row.low, row.high);
                bars.push(bar(name, &row.aggregator, numbers, row.is_bound));
            }
        }
        let words = Words {
            name: format!("before-and-after-{}", file_name(&benchmark)),
            title: format!("What does training add on {benchmark}?"),
            caption: "Scores on the prompts that policies are trained on. Grey: trained on labels."
                .to_owned(),
            footer: format!("{prompts}, {seeds}; 95% intervals over training runs and prompts"),
        };
        let (origin, shown) = (0.0, (0.0, 0.05));
        drawn
            .extend(Bars { words, axis: "score", text: "score", origin, shown, bars }.save(sheet)?);
    }
    Ok(drawn)
}

fn bar(name: String, label: &str, (value, low, high): (f64, f64, f64), is_bound: bool) -> Bar {
    let text = format_number(value);
    Bar { name, value, low, high, text, label: label.to_owned(), is_bound }
}

/// Reads the rows of the prompts that policies are trained on.
fn read(table: &ReadTable) -> Result<Vec<Row>, Error> {
    let (benchmarks, splits) = (table.texts("benchmark")?, table.texts("split")?);
    let (names, steps) = (line_names(table)?, table.numbers("step")?);
    let means = table.numbers("score")?;
    let (lows, highs) = (table.numbers("low")?, table.numbers("high")?);
    let sees_labels = table.texts_if_there("sees_labels")?;
    let row = |i: usize| {
        let mean = means[i].filter(|_| splits[i] == "test-time")?;
        Some(Row {
            benchmark: benchmarks[i].clone(),
            name: names[i].clone(),
            step: steps[i],
            numbers: (mean, lows[i].unwrap_or(mean), highs[i].unwrap_or(mean)),
            is_bound: !sees_labels[i].is_empty(),
        })
    };
    Ok((0..names.len()).filter_map(row).collect())
}
