//! Declared contrasts with their intervals, the largest difference first.

use std::path::Path;

use plotters::element::{PathElement, Text};
use plotters::style::text_anchor::{HPos, VPos};

use super::axes::{Axis, BODY, Frame, SMALL, Scale, X_ROOM, text_style};
use super::backend::{Failure, pixel};
use super::canvas::{Figure, MARGIN, Sheet, Words};
use super::marks::{Mark, Polyline};
use super::outline::{width, wrap};
use super::scene::{Ink, Scene, Stroke};
use super::score_rows::count_range;
use super::style::{Dash, GREY, HUES, Marker, Style};
use crate::Error;
use crate::number::{format_difference, format_p_value};
use crate::table::ReadTable;

/// A contrast is told apart from none below this adjusted p-value.
const LEVEL: f64 = 0.05;
const LINE: f64 = 8.5;

struct Row {
    name: String,
    value: f64,
    interval: Option<(f64, f64)>,
    p_holm: Option<f64>,
}

impl Row {
    fn is_significant(&self) -> bool {
        self.p_holm.is_some_and(|p| p < LEVEL)
    }

    fn text(&self) -> String {
        let p = self.p_holm.map_or_else(|| "-".to_owned(), format_p_value);
        let value = format_difference(self.value);
        match self.interval {
            Some((low, high)) => {
                format!("{value} [{}, {}]  {p}", format_difference(low), format_difference(high))
            }
            None => format!("{value}  {p}"),
        }
    }
}

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Option<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "contrasts")? else { return Ok(None) };
    let mut rows = read(&table)?;
    if rows.len() < 2 || rows.iter().all(|row| row.value == 0.0) {
        return Ok(None);
    }
    rows.sort_by(|a, b| b.value.total_cmp(&a.value));
    let num_significant = rows.iter().filter(|row| row.is_significant()).count();
    let words = Words {
        name: "contrasts".to_owned(),
        title: format!("{num_significant} of {} declared differences are significant", rows.len()),
        caption: "Differences of scores. Filled: p below 0.05 after Holm's adjustment.".to_owned(),
        footer: format!(
            "{}, {}; 95% intervals, not adjusted; p adjusted by Holm over all rows",
            count_range(&table.numbers("prompts")?, "prompt"),
            count_range(&table.numbers("seeds")?, "seed"),
        ),
    };
    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &words.title) + SMALL + 3.0;
    let bottom = draw_rows(&rows, &mut scene, sheet, top)?;
    sheet.save(scene, bottom, words).map(Some)
}

fn read(table: &ReadTable) -> Result<Vec<Row>, Error> {
    let names = table.texts("contrast")?;
    let values = table.numbers("difference")?;
    let (lows, highs) = (table.numbers("low")?, table.numbers("high")?);
    let p_holm = table.numbers("p_holm")?;
    let row = |i: usize| {
        Some(Row {
            name: names[i].clone(),
            value: values[i]?,
            interval: lows[i].zip(highs[i]),
            p_holm: p_holm[i],
        })
    };
    Ok((0..names.len()).filter_map(row).collect())
}

/// Draws rows from `top` on, and returns where they end.
fn draw_rows(rows: &[Row], scene: &mut Scene, sheet: &Sheet<'_>, top: f64) -> Result<f64, Failure> {
    let names: Vec<Vec<String>> =
        rows.iter().map(|row| wrap(&row.name, BODY, sheet.points() * 0.36)).collect();
    let longest = names.iter().flatten().map(|line| width(line, BODY)).fold(0.0, f64::max);
    let heading = "difference [95%]  p";
    let texts = rows.iter().map(|row| width(&row.text(), SMALL));
    let texts = texts.fold(width(heading, SMALL), f64::max);
    // On a narrow sheet the numbers have a line of their own below the name.
    let is_narrow = sheet.points() - longest - texts < 90.0;
    let height = |lines: &Vec<String>| 6.0 + LINE * (lines.len() + usize::from(is_narrow)) as f64;
    let ends = |row: &Row| row.interval.unwrap_or((row.value, row.value));
    let low = rows.iter().map(|row| ends(row).0).fold(0.0, f64::min);
    let high = rows.iter().map(|row| ends(row).1).fold(0.0, f64::max);
    let room = (high - low).max(1e-6) * 0.05;

    let left = MARGIN + if is_narrow { longest.max(texts) } else { longest } + 8.0;
    let right = sheet.points() - MARGIN - if is_narrow { 4.0 } else { texts + 8.0 };
    let total = names.iter().map(height).sum();
    let frame = Frame {
        left,
        top,
        width: right - left,
        height: total,
        x: Axis::new("difference of scores", Scale::Linear, (low - room, high + room)),
        // Points below the top.
        y: Axis::new("", Scale::Linear, (total, 0.0)),
    };
    let area = scene.area();
    let chart = frame.chart(&area)?;
    let values = chart.plotting_area();
    let edge = if is_narrow { left - 8.0 } else { sheet.points() - MARGIN };
    let style = text_style(SMALL, (HPos::Right, VPos::Bottom), Ink::Soft);
    area.draw(&Text::new(heading, pixel((edge, top - 4.0)), style))?;
    let none = [(0.0, 0.0), (0.0, total)];
    values.draw(&PathElement::new(none, Stroke::new(Ink::Soft, 0.6).shape()))?;
    let name = text_style(BODY, (HPos::Right, VPos::Bottom), Ink::Text);
    let text = text_style(SMALL, (HPos::Right, VPos::Bottom), Ink::Text);
    let mut y = 0.0;
    for (row, lines) in rows.iter().zip(&names) {
        let middle = y + height(lines) / 2.0;
        let (hue, marker) =
            if row.is_significant() { (HUES[0], Marker::Circle) } else { (GREY, Marker::Ring) };
        let style = Style { hue, marker, dash: Dash::Solid };
        let (low, high) = ends(row);
        if low < high {
            let points = vec![(low, middle), (high, middle)];
            values.draw(&Polyline { points, stroke: Stroke::of(style), shift: 0 })?;
        }
        values.draw(&Mark { at: (row.value, middle), style, size: 5.0, shift: 0 })?;
        let base = |line: usize| top + y + 3.0 + LINE * (line as f64 + 0.8);
        for (i, line) in lines.iter().enumerate() {
            area.draw(&Text::new(line.as_str(), pixel((left - 8.0, base(i))), name.clone()))?;
        }
        let below = if is_narrow { base(lines.len()) } else { top + middle + 0.35 * SMALL };
        area.draw(&Text::new(row.text(), pixel((edge, below)), text.clone()))?;
        y += height(lines);
    }
    frame.draw_x(&area, &chart)?;
    Ok(frame.bottom() + X_ROOM)
}
