//! Score against the tokens, seconds and USD that an estimate costs per prompt, its rollouts included.

use std::path::Path;

use super::axes::{Axis, Scale};
use super::canvas::{Figure, Sheet, Words};
use super::lines::{Line, Panel, Panels, Point, Range};
use super::scene::Scene;
use super::score_rows::{by_setting, count_range, subjects};
use super::style::styles;
use crate::Error;
use crate::file::file_name;
use crate::table::ReadTable;

/// Columns of costs with the titles of their axes.
const COSTS: [(&str, &str); 3] = [
    ("tokens_per_prompt", "tokens per prompt (logarithmic)"),
    ("seconds_per_prompt", "seconds per prompt (logarithmic)"),
    ("usd_per_prompt", "USD per prompt (logarithmic)"),
];

struct Row {
    setting: String,
    name: String,
    is_bound: bool,
    point: Point,
    prompts: Option<f64>,
}

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "cost_and_quality")? else {
        return Ok(Vec::new());
    };
    let mut drawn = Vec::new();
    for (column, axis) in COSTS {
        let unit = column.split('_').next().unwrap_or_default();
        for (setting, rows) in by_setting(read(&table, column)?, |row| &row.setting) {
            let is_one = rows.iter().all(|row| row.point.x == rows[0].point.x);
            if rows.len() < 2 || is_one || rows.iter().all(|row| row.point.mean == 0.0) {
                continue;
            }
            drawn.push(draw_one(&setting, &rows, (unit, axis), sheet)?);
        }
    }
    Ok(drawn)
}

fn read(table: &ReadTable, column: &str) -> Result<Vec<Row>, Error> {
    let (scores, costs) = (table.numbers("score")?, table.numbers_if_there(column)?);
    let (lows, highs) = (table.numbers("low")?, table.numbers("high")?);
    let bounds = table.texts_if_there("sees_labels")?;
    let prompts = table.numbers_if_there("prompts")?;
    let row = |(i, subject): (usize, super::score_rows::Subject)| {
        let mean = scores[i]?;
        let x = costs[i].filter(|cost| *cost > 0.0)?;
        let point = Point { x, mean, low: lows[i].unwrap_or(mean), high: highs[i].unwrap_or(mean) };
        Some(Row {
            setting: subject.setting,
            name: subject.aggregator,
            is_bound: !bounds[i].is_empty(),
            point,
            prompts: prompts[i],
        })
    };
    Ok(subjects(table, &["score"])?.into_iter().enumerate().filter_map(row).collect())
}

/// Returns a unit as a title says it.
fn words_of(unit: &str) -> &str {
    if unit == "usd" { "USD" } else { unit }
}

fn draw_one(
    setting: &str,
    rows: &[Row],
    (unit, axis): (&str, &str),
    sheet: &Sheet<'_>,
) -> Result<Figure, Error> {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for row in rows {
        if names.iter().all(|(name, _)| *name != row.name) {
            names.push((&row.name, row.is_bound));
        }
    }
    let line = |(&(name, _), style): (&(&str, bool), _)| {
        let mut points: Vec<Point> =
            rows.iter().filter(|row| row.name == name).map(|row| row.point.clone()).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Line { name: name.to_owned(), style, points, chosen: Vec::new() }
    };
    let lines: Vec<Line> = names.iter().zip(styles(names.iter().copied())).map(line).collect();
    let least = rows.iter().map(|row| row.point.x).fold(f64::INFINITY, f64::min);
    let most = rows.iter().map(|row| row.point.x).fold(0.0, f64::max);
    let x = Axis::new(axis, Scale::Log10, (least / 1.2, most * 1.2));
    let panel = Panel { title: String::new(), y: "score".to_owned(), lines };
    let (range, panels) = (Range::Whiskers, vec![panel]);
    let panels = Panels { x, range, is_shared: false, least: None, panels };
    let title = format!("What does a better score on {setting} cost in {}?", words_of(unit));
    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &title);
    let bottom = panels.draw(&mut scene, sheet, top)?;
    let prompts: Vec<_> = rows.iter().map(|row| row.prompts).collect();
    let words = Words {
        name: format!("cost-and-quality-{unit}-{}", file_name(setting)),
        title,
        caption: "A line joins the group sizes of an aggregator. Costs are of its rollouts and its own calls.".to_owned(),
        footer: format!("{}, 95% intervals over prompts", count_range(&prompts, "prompt")),
    };
    sheet.save(scene, bottom, words)
}
