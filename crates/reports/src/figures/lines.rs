//! Lines over steps or sizes in panels, named at their ends where there is room.

use super::axes::{Axis, BODY, Frame, SMALL, Scale, X_ROOM, spread};
use super::canvas::{MARGIN, Sheet};
use super::outline::{width, wrap};
use super::scene::{Anchor, Ink, Scene, Stroke};
use super::style::Style;

/// A point of a line, with a range around it.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) points: Vec<Point>,
    /// Places that are marked.
    pub(super) chosen: Vec<f64>,
}

/// The form of ranges around points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    Band,
    Whiskers,
    /// Whiskers of lines that have points at the same places, beside each other.
    Beside,
}

#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    /// The title of the vertical axis.
    pub(super) y: String,
    pub(super) lines: Vec<Line>,
}

/// Panels with a horizontal axis in common.
pub(super) struct Panels {
    pub(super) x: Axis,
    pub(super) range: Range,
    /// True if all panels show the same values.
    pub(super) is_shared: bool,
    /// The values that are shown at least.
    pub(super) least: Option<(f64, f64)>,
    pub(super) panels: Vec<Panel>,
}

const HEIGHT: f64 = 104.0;
/// The least width of a panel.
const LEAST: f64 = 215.0;
/// Height of a row of the legend, and of a name beside a line.
const LINE: f64 = 9.0;
/// Length of a stroke in the legend.
const STROKE: f64 = 20.0;
const GAP: f64 = 12.0;

/// Returns the range of values that panels show: from 0 where they come near it.
fn range_of<'l>(lines: impl Iterator<Item = &'l Line>, least: Option<(f64, f64)>) -> (f64, f64) {
    let (mut low, mut high) = least.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
    for point in lines.flat_map(|line| &line.points) {
        (low, high) = (low.min(point.low), high.max(point.high));
    }
    if !low.is_finite() {
        return (0.0, 1.0);
    }
    // A constant value gets a range around it.
    let room = if high > low { (high - low) * 0.06 } else { 0.5 * high.abs().max(0.1) };
    let is_share = (0.0..=1.0).contains(&low) && high <= 1.0;
    let bottom = if (0.0..=high - low).contains(&low) { 0.0 } else { low - room };
    let top =
        if is_share && high + room > 1.0 { 1.0 + (high - bottom) * 0.02 } else { high + room };
    (bottom, top)
}

impl Panels {
    /// Returns every line of the panels once.
    fn all_lines(&self) -> Vec<&Line> {
        let mut lines: Vec<&Line> = Vec::new();
        for line in self.panels.iter().flat_map(|panel| &panel.lines) {
            if lines.iter().all(|known| known.name != line.name) {
                lines.push(line);
            }
        }
        lines
    }

    /// Draws the panels from `top` on, and returns where they end.
    pub(super) fn draw(&self, scene: &mut Scene, sheet: &Sheet<'_>, top: f64) -> f64 {
        let inner = sheet.points() - 2.0 * MARGIN;
        let columns = ((inner / LEAST) as usize).clamp(1, self.panels.len().max(1));
        let across = inner / columns as f64;
        let room = across * 0.34;
        let names: Vec<Vec<String>> =
            self.all_lines().iter().map(|line| wrap(&line.name, SMALL, room)).collect();
        let tall = names.iter().map(Vec::len).max().unwrap_or(1) as f64 * (LINE - 0.5);
        let widest = names.iter().flatten().map(|name| width(name, SMALL)).fold(0.0, f64::max);
        let is_direct = names.len() > 1
            && widest <= room
            && names.len() as f64 * tall <= HEIGHT
            && self.panels.len() <= 4;
        let mut top = top;
        if !is_direct && names.len() > 1 {
            top = self.draw_legend(scene, sheet, top) + 4.0;
        }
        let shared = self
            .is_shared
            .then(|| range_of(self.panels.iter().flat_map(|panel| &panel.lines), self.least));
        let row_height = LINE + 3.0 + HEIGHT + X_ROOM + 4.0;
        for (i, panel) in self.panels.iter().enumerate() {
            let range = shared.unwrap_or_else(|| range_of(panel.lines.iter(), self.least));
            let y = Axis::new(panel.y.clone(), Scale::Linear, range);
            let left = MARGIN + across * (i % columns) as f64 + Frame::room_left(&y, HEIGHT);
            let edge = MARGIN + across * (i % columns + 1) as f64;
            let right = edge - if is_direct { widest + 14.0 } else { GAP };
            let row = top + row_height * (i / columns) as f64;
            let frame = Frame {
                left,
                top: row + LINE + 3.0,
                width: right - left,
                height: HEIGHT,
                x: self.x.clone(),
                y,
            };
            if !panel.title.is_empty() {
                let place = (left, row + LINE - 1.0);
                scene.text(place, &panel.title, BODY, Anchor::Start, Ink::Text);
            }
            frame.draw(scene);
            self.draw_lines(scene, &frame, &panel.lines);
            if is_direct {
                name_lines(scene, &frame, &panel.lines, widest);
            }
        }
        top + row_height * self.panels.len().div_ceil(columns) as f64
    }

    fn draw_lines(&self, scene: &mut Scene, frame: &Frame, lines: &[Line]) {
        if self.range == Range::Band {
            for line in lines.iter().filter(|line| line.points.len() > 1) {
                let lower = line.points.iter().map(|point| frame.at(point.x, point.low));
                let upper = line.points.iter().rev().map(|point| frame.at(point.x, point.high));
                let band: Vec<_> = lower.chain(upper).collect();
                scene.polygon(&band, Ink::Hue(line.style.hue), 0.13);
            }
        }
        let count = lines.len() as f64;
        for (i, line) in lines.iter().enumerate() {
            let shift = match self.range {
                Range::Band | Range::Whiskers => 0.0,
                Range::Beside => (i as f64 - (count - 1.0) / 2.0) * 2.2,
            };
            let at = |point: &Point, value: f64| {
                let (x, y) = frame.at(point.x, value);
                (x + shift, y)
            };
            let path: Vec<_> = line.points.iter().map(|point| at(point, point.mean)).collect();
            if self.range != Range::Band {
                let stroke = Stroke::new(Ink::Hue(line.style.hue), 0.8);
                for point in line.points.iter().filter(|point| point.low < point.high) {
                    scene.line(&[at(point, point.low), at(point, point.high)], stroke);
                }
            }
            scene.line(&path, Stroke::of(line.style));
            for place in marked(&path) {
                scene.marker(place, line.style, 4.2);
            }
            for point in line.points.iter().filter(|point| line.chosen.contains(&point.x)) {
                scene.ring(at(point, point.mean), 4.6, Stroke::new(Ink::Text, 0.9));
            }
        }
    }

    /// Draws a legend of all lines, and returns where it ends.
    fn draw_legend(&self, scene: &mut Scene, sheet: &Sheet<'_>, top: f64) -> f64 {
        let (mut x, mut y) = (MARGIN, top + LINE);
        for line in self.all_lines() {
            let length = STROKE + 4.0 + width(&line.name, SMALL) + GAP;
            if x > MARGIN && x + length > sheet.points() {
                (x, y) = (MARGIN, y + LINE + 1.0);
            }
            let middle = y - 0.35 * SMALL;
            scene.line(&[(x, middle), (x + STROKE, middle)], Stroke::of(line.style));
            scene.marker((x + STROKE / 2.0, middle), line.style, 4.2);
            scene.text((x + STROKE + 4.0, y), &line.name, SMALL, Anchor::Start, Ink::Text);
            x += length;
        }
        y
    }
}

/// Returns the points of a line that have a marker: all of them, or at most about 12 of many.
fn marked(path: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = path.len().div_ceil(12).max(1);
    path.iter().enumerate().filter(|(i, _)| i % every == 0).map(|(_, place)| *place).collect()
}

/// Writes the name of each line beside its end, with a thin line to it where it had to move.
fn name_lines(scene: &mut Scene, frame: &Frame, lines: &[Line], room: f64) {
    let lines: Vec<&Line> = lines.iter().filter(|line| !line.points.is_empty()).collect();
    let end = |line: &Line| line.points.last().map_or(0.0, |point| frame.at(point.x, point.mean).1);
    let wanted: Vec<f64> = lines.iter().map(|line| end(line)).collect();
    let names: Vec<Vec<String>> =
        lines.iter().map(|line| wrap(&line.name, SMALL, room + 0.1)).collect();
    let tall = names.iter().map(Vec::len).max().unwrap_or(1) as f64 * (LINE - 0.5);
    let bounds = (frame.top + tall / 2.0, frame.bottom() - tall / 2.0);
    let placed = spread(&wanted, tall, bounds);
    for (i, line) in lines.iter().enumerate() {
        let last = line.points.last().map_or(frame.right(), |point| frame.at(point.x, 0.0).0);
        let from = (last + 3.0, wanted[i]);
        let to = (frame.right() + 9.0, placed[i]);
        scene.line(&[from, to], Stroke::new(Ink::Hue(line.style.hue), 0.5));
        let first = placed[i] - (LINE - 0.5) * (names[i].len() as f64 - 1.0) / 2.0;
        for (number, name) in names[i].iter().enumerate() {
            let y = first + (LINE - 0.5) * number as f64 + 0.35 * SMALL;
            scene.text((frame.right() + 11.0, y), name, SMALL, Anchor::Start, Ink::Text);
        }
    }
}
