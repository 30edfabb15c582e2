//! Scores of policies by training step, one panel per split. Lines are means over seeds; bands
//! reach from the lowest seed to the highest. Rings mark the steps that early stopping chose.

use std::collections::BTreeSet;
use std::path::Path;

use super::axes::{Axis, Scale};
use super::canvas::{Figure, Sheet, Words};
use super::lines::{Panel, Panels, Range};
use super::scene::Scene;
use super::score_rows::count_range;
use super::training_table::{PanelRows, line_names, read_panels, step_range};
use crate::Error;
use crate::number::format_difference;
use crate::table::ReadTable;

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Option<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "training_scores")? else {
        return Ok(None);
    };
    let rows = read_panels(&table, "split", "score", &BTreeSet::new())?;
    let lines = || rows.iter().flat_map(|panel| &panel.lines);
    if lines().all(|line| line.points.len() < 2) {
        return Ok(None);
    }
    let has_chosen = lines().any(|line| !line.chosen.is_empty());
    let x = Axis::new("training step", Scale::Whole, step_range(lines()));
    let title = finding(&table)?;
    let prompts = table.numbers_if_there("prompts")?;
    let footer = format!(
        "{}, {}; bands from the lowest to the highest seed{}",
        count_range(&prompts, "prompt"),
        count_range(&table.numbers("seeds")?, "seed"),
        if has_chosen { "; rings: steps chosen by early stopping" } else { "" },
    );
    let panel = |PanelRows { benchmark, value, lines }: PanelRows| {
        let names = [benchmark, format!("{value} prompts")];
        let names = names.into_iter().filter(|name| !name.is_empty());
        let title = names.collect::<Vec<_>>().join(", ");
        Panel { title, y: "score".to_owned(), lines }
    };
    let panels = rows.into_iter().map(panel).collect();
    let panels = Panels { x, range: Range::Band, is_shared: true, least: None, panels };
    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &title);
    let bottom = panels.draw(&mut scene, sheet, top)?;
    let words = Words {
        name: "learning-curves".to_owned(),
        title,
        caption:
            "Score of the policy by training step, as a mean over seeds. Grey: trained on labels."
                .to_owned(),
        footer,
    };
    sheet.save(scene, bottom, words).map(Some)
}

/// Says how much training gains on held-out prompts, if any gain is told apart from none.
fn finding(table: &ReadTable) -> Result<String, Error> {
    const QUESTION: &str = "How does the policy's score change with training?";
    let (splits, names) = (table.texts("split")?, line_names(table)?);
    let sees_labels = table.texts_if_there("sees_labels")?;
    let gains = table.numbers_if_there("gain")?;
    let lows = table.numbers_if_there("gain_low")?;
    // The reported step of each policy is the one with an adjusted p-value.
    let results = table.numbers_if_there("p_holm")?;
    let split = ["held-out", "test-time", "validation"]
        .into_iter()
        .find(|split| splits.iter().any(|known| known == split));
    let Some(split) = split else { return Ok(QUESTION.to_owned()) };
    let is_result =
        |i: &usize| splits[*i] == split && sees_labels[*i].is_empty() && results[*i].is_some();
    let found: Vec<(f64, Option<f64>, &str)> = (0..names.len())
        .filter(is_result)
        .filter_map(|i| Some((gains[i]?, lows[i], names[i].as_str())))
        .collect();
    let best = found.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    Ok(match best {
        Some((gain, Some(low), name)) if *low > 0.0 => {
            let gain = format_difference(*gain);
            match found.len() {
                1 => format!("Training on {name} raises the score on {split} prompts: {gain}"),
                _ => format!(
                    "Training raises the score on {split} prompts by up to {gain} (on {name})"
                ),
            }
        }
        Some(_) => format!("No training raises the score on {split} prompts beyond its interval"),
        None => QUESTION.to_owned(),
    })
}
