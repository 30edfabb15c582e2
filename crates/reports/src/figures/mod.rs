//! Figures, drawn from the report's tables with plotters, as SVG and PNG.
//!
//! Each file here draws one figure. Colours are Okabe and Ito's, which colour-blind readers can tell
//! apart; upper bounds are grey, and dashed where they are lines, since they are not methods.

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
pub(crate) use canvas::Figure;
use score_rows::{by_setting, read_scores};

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
