//! Figures, drawn from the report's tables alone, as SVG, PNG (300 dpi) and PDF.
//!
//! Each file here draws one figure or a few of a kind. Sizes are in points at the printed width:
//! no text is smaller than 7 points, and all of it is outlined, so that a figure looks the same everywhere.
//! plotters maps values and draws; [`backend`] writes its shapes into the SVG of a [`scene::Scene`].
//! [`style`] gives every aggregator and reward its colour, marker and line style. A figure without
//! anything to compare is not drawn.

mod axes;
mod backend;
mod bars;
mod before_and_after;
mod canvas;
mod cost_and_quality;
mod disagreement;
mod forest;
mod learning_curves;
mod lines;
mod marks;
mod outline;
mod reward_auc;
mod scene;
mod score_by_aggregator;
mod score_by_group_size;
mod score_rows;
mod step_time;
mod step_timeline;
mod structure;
mod style;
mod training_steps;
mod training_table;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;
use crate::table::ReadTable;
pub use canvas::FigureWidth;
pub(crate) use canvas::{Figure, Sheet};
pub(crate) use outline::width as text_width;
pub(crate) use scene::dark_style;
use score_rows::{compared, read_scores};

/// Draws every figure of the tables in `tables`, and removes earlier ones that are drawn no more.
pub(crate) fn draw_all(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let mut drawn = Vec::new();
    drawn.extend(forest::draw(tables, sheet)?);
    drawn.extend(learning_curves::draw(tables, sheet)?);
    drawn.extend(before_and_after::draw(tables, sheet)?);
    if let Some(table) = ReadTable::read_if_there(tables, "scores")? {
        let rows = read_scores(&table)?;
        for (setting, rows) in compared(rows) {
            drawn.extend(score_by_aggregator::draw(&setting, &rows, sheet)?);
            drawn.extend(score_by_group_size::draw(&setting, &rows, sheet)?);
        }
    }
    drawn.extend(cost_and_quality::draw(tables, sheet)?);
    drawn.extend(reward_auc::draw(tables, sheet)?);
    drawn.extend(disagreement::draw(tables, sheet)?);
    drawn.extend(structure::draw(tables, sheet)?);
    drawn.extend(training_steps::draw(tables, sheet)?);
    drawn.extend(step_time::draw(tables, sheet)?);
    drawn.extend(step_timeline::draw(tables, sheet)?);
    remove_others(sheet.folder, &drawn)?;
    Ok(drawn)
}

/// The beginnings of the names of figures.
const KINDS: [&str; 13] = [
    "before-and-after",
    "contrasts",
    "cost-and-quality-",
    "disagreement-",
    "diversity",
    "learning-curves",
    "reward-and-truth",
    "reward-auc-",
    "reward-correlation-",
    "score-by-",
    "step-time",
    "structure-",
    "training-steps",
];

/// Removes files of figures that were not drawn. Files of other names are left alone.
fn remove_others(folder: &Path, drawn: &[Figure]) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ours = ["svg", "png", "pdf"].contains(&ending)
            && KINDS.iter().any(|kind| name.starts_with(kind));
        if is_ours && drawn.iter().all(|figure| figure.name != name) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::write(&path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
