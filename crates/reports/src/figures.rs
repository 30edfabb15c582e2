//! Figures, drawn from the report's tables with plotters, as SVG and PNG.
//!
//! Each figure is one file here. Colours are Okabe and Ito's, which stay apart for colour-blind
//! readers; upper bounds are grey and dashed or hatched by outline, since they are no methods.

mod accuracy_by_aggregator;
mod accuracy_by_group_size;
mod canvas;

use std::path::Path;

use crate::Error;
use crate::table::ReadTable;

/// A figure that was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Name of its files.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) caption: String,
    /// Its SVG text, for the page.
    pub(crate) svg: String,
}

/// One row of the `scores` table.
#[derive(Clone, Debug)]
pub(crate) struct ScoreRow {
    pub(crate) benchmark: String,
    pub(crate) aggregator: String,
    pub(crate) group_size: u32,
    pub(crate) accuracy: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) is_bound: bool,
    pub(crate) prompts: u32,
    pub(crate) seeds: u32,
    pub(crate) grader: String,
}

/// Draws every figure of the tables in `tables` into `figures`.
pub(crate) fn draw_all(tables: &Path, figures: &Path) -> Result<Vec<Figure>, Error> {
    let rows = read_scores(tables)?;
    let mut benchmarks: Vec<String> = Vec::new();
    for row in &rows {
        if !benchmarks.contains(&row.benchmark) {
            benchmarks.push(row.benchmark.clone());
        }
    }
    let mut drawn = Vec::new();
    for benchmark in benchmarks {
        let rows: Vec<_> = rows.iter().filter(|row| row.benchmark == benchmark).cloned().collect();
        drawn.push(accuracy_by_aggregator::draw(&benchmark, &rows, figures)?);
        let mut sizes: Vec<_> = rows.iter().map(|row| row.group_size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        if sizes.len() > 1 {
            drawn.push(accuracy_by_group_size::draw(&benchmark, &rows, figures)?);
        }
    }
    Ok(drawn)
}

fn read_scores(tables: &Path) -> Result<Vec<ScoreRow>, Error> {
    let table = ReadTable::read(tables, "scores")?;
    let texts = |name| table.texts(name);
    let (benchmark, aggregator) = (texts("benchmark")?, texts("aggregator.kind")?);
    let (standing, grader) = (texts("standing")?, texts("grader")?);
    let sizes = table.numbers("sampling.group-size")?;
    let (mean, low, high) =
        (table.numbers("accuracy")?, table.numbers("low")?, table.numbers("high")?);
    let (prompts, seeds) = (table.numbers("prompts")?, table.numbers("seeds")?);
    let row = |i: usize| {
        let accuracy = mean[i]?;
        Some(ScoreRow {
            benchmark: benchmark[i].clone(),
            aggregator: aggregator[i].clone(),
            group_size: sizes[i]? as u32,
            accuracy,
            low: low[i].unwrap_or(accuracy),
            high: high[i].unwrap_or(accuracy),
            is_bound: standing[i] == "upper bound",
            prompts: prompts[i]? as u32,
            seeds: seeds[i]? as u32,
            grader: grader[i].clone(),
        })
    };
    Ok((0..benchmark.len()).filter_map(row).collect())
}

/// The line under a figure: how much went in, and how it was graded.
fn footer(rows: &[ScoreRow]) -> String {
    let Some(row) = rows.first() else { return String::new() };
    let seeds = if row.seeds == 1 { "seed" } else { "seeds" };
    format!(
        "{} prompts, {} {seeds}, grader {}, 95 % intervals over prompts",
        row.prompts, row.seeds, row.grader
    )
}
