//! Horizontal bars with names on the left, whiskers and values: readable with any number of rows
//! and any length of name. The highest value comes first.

use super::axes::{Axis, BODY, Frame, SMALL, Scale, X_ROOM};
use super::canvas::{Figure, MARGIN, Sheet, Words};
use super::outline::{width, wrap};
use super::scene::{Anchor, BOUND, Ink, Scene, Stroke};
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

        let mut scene = Scene::default();
        let top = sheet.title(&mut scene, &self.words.title) + SMALL + 3.0;
        let left = MARGIN + longest + 5.0;
        let frame = Frame {
            left,
            top,
            width: sheet.points() - MARGIN - texts - 6.0 - left,
            height: names.iter().map(height).sum(),
            x: Axis::new(self.axis, Scale::Linear, self.range()),
            y: Axis::new("", Scale::Linear, (0.0, 1.0)),
        };
        let place = (sheet.points() - MARGIN, top - 4.0);
        scene.text(place, self.text, SMALL, Anchor::End, Ink::Soft);
        let x = |value: f64| frame.at(value, 0.0).0;
        let mut y = top;
        for (bar, lines) in self.bars.iter().zip(&names) {
            let height = height(lines);
            let middle = y + height / 2.0;
            let size = (x(bar.value) - x(self.origin), ROW * 0.62);
            let ink = if bar.is_bound { BOUND } else { Ink::Hue(hue(bar)) };
            scene.rectangle((x(self.origin), middle - ROW * 0.31), size, ink);
            if bar.low < bar.high {
                draw_whisker(&mut scene, (x(bar.low), x(bar.high)), middle);
            }
            let first = middle - LINE * (lines.len().max(1) - 1) as f64 / 2.0 + 0.35 * BODY;
            for (i, line) in lines.iter().enumerate() {
                let place = (left - 4.0, first + LINE * i as f64);
                scene.text(place, line, BODY, Anchor::End, Ink::Text);
            }
            let place = (sheet.points() - MARGIN, middle + 0.35 * SMALL);
            scene.text(place, &bar.text, SMALL, Anchor::End, Ink::Text);
            y += height;
        }
        frame.draw_x(&mut scene);
        let origin = x(self.origin);
        scene.line(&[(origin, top), (origin, frame.bottom())], Stroke::new(Ink::Text, 0.6));
        sheet.save(scene, frame.bottom() + X_ROOM, self.words).map(Some)
    }
}

/// Draws an interval with its ends.
fn draw_whisker(scene: &mut Scene, (low, high): (f64, f64), y: f64) {
    let stroke = Stroke::new(Ink::Text, 0.8);
    scene.line(&[(low, y), (high, y)], stroke);
    for end in [low, high] {
        scene.line(&[(end, y - 2.2), (end, y + 2.2)], stroke);
    }
}
