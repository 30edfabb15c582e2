//! Lines over steps or sizes in panels, named at their ends where there is room.

use plotters::element::{Circle, EmptyElement, PathElement, Polygon, Text};
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, VPos};

use super::axes::{Area, Axis, BODY, Chart, Frame, SMALL, Scale, X_ROOM, spread, text_style};
use super::backend::{Failure, pixel, pixels, point};
use super::canvas::{MARGIN, Sheet};
use super::marks::{Mark, Polyline};
use super::outline::{width, wrap};
use super::scene::{Ink, Scene, Stroke};
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
/// Size of markers.
const MARKER: f64 = 4.2;

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
    pub(super) fn draw(
        &self,
        scene: &mut Scene,
        sheet: &Sheet<'_>,
        top: f64,
    ) -> Result<f64, Failure> {
        let area = scene.area();
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
            top = self.draw_legend(&area, sheet, top)? + 4.0;
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
                let style = text_style(BODY, (HPos::Left, VPos::Bottom), Ink::Text);
                area.draw(&Text::new(panel.title.as_str(), pixel(place), style))?;
            }
            let chart = frame.chart(&area)?;
            frame.draw(&area, &chart)?;
            self.draw_lines(&chart, &panel.lines)?;
            if is_direct {
                name_lines(&area, &frame, &chart, &panel.lines, widest)?;
            }
        }
        Ok(top + row_height * self.panels.len().div_ceil(columns) as f64)
    }

    fn draw_lines(&self, chart: &Chart<'_>, lines: &[Line]) -> Result<(), Failure> {
        let values = chart.plotting_area();
        if self.range == Range::Band {
            for line in lines.iter().filter(|line| line.points.len() > 1) {
                let lower = line.points.iter().map(|point| (point.x, point.low));
                let upper = line.points.iter().rev().map(|point| (point.x, point.high));
                let band: Vec<_> = lower.chain(upper).collect();
                values.draw(&Polygon::new(band, Ink::Hue(line.style.hue).rgba().mix(0.13)))?;
            }
        }
        let count = lines.len() as f64;
        for (i, line) in lines.iter().enumerate() {
            let shift = match self.range {
                Range::Band | Range::Whiskers => 0,
                Range::Beside => pixels((i as f64 - (count - 1.0) / 2.0) * 2.2),
            };
            if self.range != Range::Band {
                let stroke = Stroke::new(Ink::Hue(line.style.hue), 0.8);
                for point in line.points.iter().filter(|point| point.low < point.high) {
                    let points = vec![(point.x, point.low), (point.x, point.high)];
                    values.draw(&Polyline { points, stroke, shift })?;
                }
            }
            let points: Vec<_> = line.points.iter().map(|point| (point.x, point.mean)).collect();
            let marked = marked(&points);
            values.draw(&Polyline { points, stroke: Stroke::of(line.style), shift })?;
            for at in marked {
                values.draw(&Mark { at, style: line.style, size: MARKER, shift })?;
            }
            for point in line.points.iter().filter(|point| line.chosen.contains(&point.x)) {
                let look = Stroke::new(Ink::Text, 0.9).shape();
                let place = EmptyElement::at((point.x, point.mean));
                values.draw(&(place + Circle::new((shift, 0), pixels(4.6), look)))?;
            }
        }
        Ok(())
    }

    /// Draws a legend of all lines, and returns where it ends.
    fn draw_legend(&self, area: &Area<'_>, sheet: &Sheet<'_>, top: f64) -> Result<f64, Failure> {
        let (mut x, mut y) = (MARGIN, top + LINE);
        let text = text_style(SMALL, (HPos::Left, VPos::Bottom), Ink::Text);
        for line in self.all_lines() {
            let length = STROKE + 4.0 + width(&line.name, SMALL) + GAP;
            if x > MARGIN && x + length > sheet.points() {
                (x, y) = (MARGIN, y + LINE + 1.0);
            }
            let middle = y - 0.35 * SMALL;
            let points = vec![pixel((x, middle)), pixel((x + STROKE, middle))];
            area.draw(&Polyline { points, stroke: Stroke::of(line.style), shift: 0 })?;
            let at = pixel((x + STROKE / 2.0, middle));
            area.draw(&Mark { at, style: line.style, size: MARKER, shift: 0 })?;
            let place = pixel((x + STROKE + 4.0, y));
            area.draw(&Text::new(line.name.as_str(), place, text.clone()))?;
            x += length;
        }
        Ok(y)
    }
}

/// Returns the points of a line that have a marker: all of them, or at most about 12 of many.
fn marked(path: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = path.len().div_ceil(12).max(1);
    path.iter().enumerate().filter(|(i, _)| i % every == 0).map(|(_, place)| *place).collect()
}

/// Writes the name of each line beside its end, with a thin line to it where it had to move.
fn name_lines(
    area: &Area<'_>,
    frame: &Frame,
    chart: &Chart<'_>,
    lines: &[Line],
    room: f64,
) -> Result<(), Failure> {
    let end = |line: &Line| {
        let last = line.points.last()?;
        Some(point(chart.backend_coord(&(last.x, last.mean))))
    };
    let ends: Vec<_> = lines.iter().filter_map(|line| Some((line, end(line)?))).collect();
    let wanted: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
    let names: Vec<Vec<String>> =
        ends.iter().map(|(line, _)| wrap(&line.name, SMALL, room + 0.1)).collect();
    let tall = names.iter().map(Vec::len).max().unwrap_or(1) as f64 * (LINE - 0.5);
    let bounds = (frame.top + tall / 2.0, frame.bottom() - tall / 2.0);
    let placed = spread(&wanted, tall, bounds);
    let text = text_style(SMALL, (HPos::Left, VPos::Center), Ink::Text);
    for (i, (line, (x, y))) in ends.iter().enumerate() {
        let leader = [(x + 3.0, *y), (frame.right() + 9.0, placed[i])].map(pixel);
        let look = Stroke::new(Ink::Hue(line.style.hue), 0.5).shape();
        area.draw(&PathElement::new(leader, look))?;
        let first = placed[i] - (LINE - 0.5) * (names[i].len() as f64 - 1.0) / 2.0;
        for (number, name) in names[i].iter().enumerate() {
            let place = pixel((frame.right() + 11.0, first + (LINE - 0.5) * number as f64));
            area.draw(&Text::new(name.as_str(), place, text.clone()))?;
        }
    }
    Ok(())
}
