//! Declared contrasts with their intervals, the largest difference first.

use std::path::Path;

use super::axes::{Axis, BODY, Frame, SMALL, Scale, X_ROOM};
use super::canvas::{Figure, MARGIN, Sheet, Words};
use super::outline::{width, wrap};
use super::scene::{Anchor, Ink, Scene, Stroke};
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
    draw_rows(&rows, words, sheet).map(Some)
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

fn draw_rows(rows: &[Row], words: Words, sheet: &Sheet<'_>) -> Result<Figure, Error> {
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

    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &words.title) + SMALL + 3.0;
    let left = MARGIN + if is_narrow { longest.max(texts) } else { longest } + 8.0;
    let right = sheet.points() - MARGIN - if is_narrow { 4.0 } else { texts + 8.0 };
    let frame = Frame {
        left,
        top,
        width: right - left,
        height: names.iter().map(height).sum(),
        x: Axis::new("difference of scores", Scale::Linear, (low - room, high + room)),
        y: Axis::new("", Scale::Linear, (0.0, 1.0)),
    };
    let (edge, anchor) =
        if is_narrow { (left - 8.0, Anchor::End) } else { (sheet.points() - MARGIN, Anchor::End) };
    scene.text((edge, top - 4.0), heading, SMALL, anchor, Ink::Soft);
    let x = |value: f64| frame.at(value, 0.0).0;
    scene.line(&[(x(0.0), top), (x(0.0), frame.bottom())], Stroke::new(Ink::Soft, 0.6));
    let mut y = top;
    for (row, lines) in rows.iter().zip(&names) {
        let height = height(lines);
        let middle = y + height / 2.0;
        let (hue, marker) =
            if row.is_significant() { (HUES[0], Marker::Circle) } else { (GREY, Marker::Ring) };
        let style = Style { hue, marker, dash: Dash::Solid };
        let (low, high) = ends(row);
        if low < high {
            scene.line(&[(x(low), middle), (x(high), middle)], Stroke::of(style));
        }
        scene.marker((x(row.value), middle), style, 5.0);
        for (i, line) in lines.iter().enumerate() {
            let place = (left - 8.0, y + 3.0 + LINE * (i as f64 + 0.8));
            scene.text(place, line, BODY, Anchor::End, Ink::Text);
        }
        let base = if is_narrow {
            y + 3.0 + LINE * (lines.len() as f64 + 0.8)
        } else {
            middle + 0.35 * SMALL
        };
        scene.text((edge, base), &row.text(), SMALL, anchor, Ink::Text);
        y += height;
    }
    frame.draw_x(&mut scene);
    sheet.save(scene, frame.bottom() + X_ROOM, words)
}
