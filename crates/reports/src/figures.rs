//! Figures, drawn from the report's tables with plotters, as SVG and PNG.
//!
//! Each figure is one file here. Colours are Okabe and Ito's, which stay apart for colour-blind
//! readers; upper bounds are grey and dashed or hatched by outline, since they are no methods.

mod bars;
mod canvas;
mod disagreement;
mod learning_curves;
mod reward_auc;
mod score_by_aggregator;
mod score_by_group_size;
mod score_rows;

use std::path::Path;

use crate::Error;
use crate::table::ReadTable;
use score_rows::read_scores;

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

/// Draws every figure of the tables in `tables` into `figures`.
pub(crate) fn draw_all(tables: &Path, figures: &Path) -> Result<Vec<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "scores")? else { return Ok(Vec::new()) };
    let rows = read_scores(&table)?;
    let mut drawn = learning_curves::draw(tables, figures)?;
    for (setting, rows) in by_setting(rows, |row| &row.setting) {
        drawn.push(score_by_aggregator::draw(&setting, &rows, figures)?);
        if rows.iter().any(|row| row.group_size != rows[0].group_size) {
            drawn.push(score_by_group_size::draw(&setting, &rows, figures)?);
        }
    }
    drawn.extend(reward_auc::draw(tables, figures)?);
    drawn.extend(disagreement::draw(tables, figures)?);
    Ok(drawn)
}

/// Rows by what `of` says of them, in the order of their first.
fn by_setting<R>(rows: Vec<R>, of: impl Fn(&R) -> &String) -> Vec<(String, Vec<R>)> {
    let mut parts: Vec<(String, Vec<R>)> = Vec::new();
    for row in rows {
        match parts.iter_mut().find(|(setting, _)| setting == of(&row)) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((of(&row).clone(), vec![row])),
        }
    }
    parts
}
