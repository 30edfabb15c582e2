//! Horizontal bars with names on the left, whiskers and values: readable with any number of rows
//! and any length of name. The highest value comes first.

use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::axes::{Axis, BODY, Chart, Frame, SMALL, Scale, X_ROOM, text_style};
use super::backend::{Failure, pixel};
use super::canvas::{Figure, MARGIN, Sheet, Words};
use super::outline::{width, wrap};
use super::scene::{BOUND, Ink, Scene, Stroke};
use super::style::{GREY, styles};
use crate::Error;

/// A bar.
#[derive(Clone)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The text at its right.
    pub(super) text: String,
    /// The label that its colour is that of.
    pub(super) label: String,
    pub(super) is_bound: bool,
}

/// A figure of bars.
pub(super) struct Bars {
    pub(super) words: Words,
    /// The title of the axis.
    pub(super) axis: &'static str,
    /// The title of the texts at the right.
    pub(super) text: &'static str,
    /// The value at which bars begin.
    pub(super) origin: f64,
    /// The range that the axis shows at least.
    pub(super) shown: (f64, f64),
    pub(super) bars: Vec<Bar>,
}

/// Height of a row in points.
const ROW: f64 = 13.0;
/// Height of each further line of a name.
const LINE: f64 = 8.5;

impl Bars {
    /// Returns the range of the axis: all values, with a margin where they exceed the least range.
    fn range(&self) -> (f64, f64) {
        let low = self.bars.iter().map(|bar| bar.low.min(bar.value)).fold(self.shown.0, f64::min);
        let high = self.bars.iter().map(|bar| bar.high.max(bar.value)).fold(self.shown.1, f64::max);
        let room = (high - low).max(1e-9) * 0.04;
        let low = if low < self.shown.0 { low - room } else { low };
        (low, if high > self.shown.1 { high + room } else { high })
    }

    /// Returns whether there is anything to compare: several bars, not all of them empty.
    fn is_worth_drawing(&self) -> bool {
        self.bars.len() > 1 && self.bars.iter().any(|bar| bar.value != self.origin)
    }

    /// Draws the figure; none if there is nothing to compare.
    pub(super) fn save(mut self, sheet: &Sheet<'_>) -> Result<Option<Figure>, Error> {
        if !self.is_worth_drawing() {
            return Ok(None);
        }
        self.bars.sort_by(|a, b| b.value.total_cmp(&a.value));
        let mut scene = Scene::default();
        let top = sheet.title(&mut scene, &self.words.title) + SMALL + 3.0;
        let bottom = self.draw(&mut scene, sheet, top)?;
        sheet.save(scene, bottom, self.words).map(Some)
    }

    /// Draws the bars from `top` on, and returns where they end.
    fn draw(&self, scene: &mut Scene, sheet: &Sheet<'_>, top: f64) -> Result<f64, Failure> {
        let mut labels: Vec<(&str, bool)> = Vec::new();
        for bar in &self.bars {
            if labels.iter().all(|(label, _)| *label != bar.label) {
                labels.push((&bar.label, bar.is_bound));
            }
        }
        let found = styles(labels.iter().copied());
        let hue = |bar: &Bar| {
            let place = labels.iter().position(|(label, _)| *label == bar.label);
            place.map_or(GREY, |place| found[place].hue)
        };
        let most = sheet.points() * 0.42;
        let names: Vec<Vec<String>> =
            self.bars.iter().map(|bar| wrap(&bar.name, BODY, most)).collect();
        let longest = names.iter().flatten().map(|line| width(line, BODY)).fold(0.0, f64::max);
        let texts = self.bars.iter().map(|bar| &bar.text);
        let texts = texts.map(|text| width(text, SMALL)).fold(width(self.text, SMALL), f64::max);
        let height = |lines: &Vec<String>| ROW + LINE * (lines.len().max(1) - 1) as f64;

        let left = MARGIN + longest + 5.0;
        let total = names.iter().map(height).sum();
        let frame = Frame {
            left,
            top,
            width: sheet.points() - MARGIN - texts - 6.0 - left,
            height: total,
            x: Axis::new(self.axis, Scale::Linear, self.range()),
            // Points below the top.
            y: Axis::new("", Scale::Linear, (total, 0.0)),
        };
        let area = scene.area();
        let chart = frame.chart(&area)?;
        let right = sheet.points() - MARGIN;
        let style = text_style(SMALL, (HPos::Right, VPos::Bottom), Ink::Soft);
        area.draw(&Text::new(self.text, pixel((right, top - 4.0)), style))?;
        let name = text_style(BODY, (HPos::Right, VPos::Center), Ink::Text);
        let text = text_style(SMALL, (HPos::Right, VPos::Center), Ink::Text);
        let mut y = 0.0;
        for (bar, lines) in self.bars.iter().zip(&names) {
            let middle = y + height(lines) / 2.0;
            let ink = if bar.is_bound { BOUND } else { Ink::Hue(hue(bar)) };
            let half = ROW * 0.31;
            let corners = [(self.origin, middle - half), (bar.value, middle + half)];
            chart.plotting_area().draw(&Rectangle::new(corners, ink.rgba().filled()))?;
            if bar.low < bar.high {
                draw_whisker(&chart, (bar.low, bar.high), middle)?;
            }
            let first = top + middle - LINE * (lines.len().max(1) - 1) as f64 / 2.0;
            for (i, line) in lines.iter().enumerate() {
                let place = pixel((left - 4.0, first + LINE * i as f64));
                area.draw(&Text::new(line.as_str(), place, name.clone()))?;
            }
            let place = pixel((right, top + middle));
            area.draw(&Text::new(bar.text.as_str(), place, text.clone()))?;
            y += height(lines);
        }
        frame.draw_x(&area, &chart)?;
        let origin = [(self.origin, 0.0), (self.origin, total)];
        let axis = Stroke::new(Ink::Text, 0.6).shape();
        chart.plotting_area().draw(&PathElement::new(origin, axis))?;
        Ok(frame.bottom() + X_ROOM)
    }
}

/// Draws an interval with its ends.
fn draw_whisker(chart: &Chart<'_>, (low, high): (f64, f64), y: f64) -> Result<(), Failure> {
    let look = Stroke::new(Ink::Text, 0.8).shape();
    let ends = [low, high].map(|end| [(end, y - 2.2), (end, y + 2.2)]);
    for line in [[(low, y), (high, y)], ends[0], ends[1]] {
        chart.plotting_area().draw(&PathElement::new(line, look))?;
    }
    Ok(())
}
