//! Axes: their ticks, and the rectangle in which values are drawn.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::{Cartesian2d, MeshLine};
use plotters::coord::combinators::{IntoLogRange as _, LogCoord};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingArea;
use plotters::element::{PathElement, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, TextStyle};

use super::backend::{Failure, pixel, pixels};
use super::outline::width;
use super::scene::{Ink, Scene, Stroke};

/// Size of text in points; none is smaller.
pub(super) const SMALL: f64 = 7.0;
/// Size of names in points.
pub(super) const BODY: f64 = 7.5;
/// Size of a figure's title in points.
pub(super) const TITLE: f64 = 9.0;

/// Returns the ticks in a range, about `count` of them, with the decimals that they need. Ticks of whole
/// numbers are whole.
pub(super) fn ticks((low, high): (f64, f64), count: usize, is_whole: bool) -> (Vec<f64>, usize) {
    let rough = (high - low).max(1e-12) / count.max(1) as f64;
    let power = rough.log10().floor();
    let sizes: &[f64] = if is_whole { &[1.0, 2.0, 5.0, 10.0] } else { &[1.0, 2.0, 2.5, 5.0, 10.0] };
    let base = 10_f64.powf(power);
    let size = sizes.iter().copied().find(|size| size * base >= rough * 0.999).unwrap_or(10.0);
    let step = if is_whole { (size * base).max(1.0) } else { size * base };
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let decimals = (0..9).find(|&d| {
        let scaled = step * 10_f64.powi(d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    let values = (first..=last).map(|i| i as f64 * step).collect();
    (values, decimals.unwrap_or(9) as usize)
}

/// Returns the text of a tick.
pub(super) fn tick_text(value: f64, decimals: usize) -> String {
    let size = value.abs();
    if size >= 1e6 {
        return format!("{}M", trim(value / 1e6));
    }
    if size >= 1e4 {
        return format!("{}k", trim(value / 1e3));
    }
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') {
        text.trim_start_matches('-').to_owned()
    } else {
        text
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Kinds of axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Whole numbers.
    Whole,
    /// Doublings: ticks are given.
    Log2,
    Log10,
}

/// An axis with its title and range.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) scale: Scale,
    pub(super) range: (f64, f64),
    /// Ticks in place of computed ones.
    pub(super) ticks: Option<Vec<f64>>,
}

impl Axis {
    pub(super) fn new(title: impl Into<String>, scale: Scale, range: (f64, f64)) -> Self {
        Self { title: title.into(), scale, range, ticks: None }
    }

    /// Returns the ticks with their texts.
    fn labels(&self, count: usize) -> Vec<(f64, String)> {
        let (low, high) = self.range;
        if let Some(given) = &self.ticks {
            return given.iter().map(|&value| (value, tick_text(value, 0))).collect();
        }
        if self.scale == Scale::Log10 {
            let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
            let values = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|d| d * 10_f64.powi(power)));
            let inside = values.filter(|value| (low..=high).contains(value));
            return inside
                .map(|value| (value, crate::number::format_number(value)))
                .map(compact)
                .collect();
        }
        let (values, decimals) = ticks(self.range, count, self.scale == Scale::Whole);
        values.into_iter().map(|value| (value, tick_text(value, decimals))).collect()
    }

    /// Returns the length of the longest tick text in points.
    pub(super) fn label_width(&self, count: usize) -> f64 {
        self.labels(count).iter().map(|(_, text)| width(text, SMALL)).fold(0.0, f64::max)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        match self.scale {
            Scale::Linear | Scale::Whole => RangedCoordf64::from(self.range()).map(value, limit),
            Scale::Log2 | Scale::Log10 => {
                LogCoord::from(self.range().log_scale()).map(value, limit)
            }
        }
    }

    /// Returns the ticks; those of whole numbers never repeat.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.max_num_points() {
            0 => Vec::new(),
            count => self.labels(count).into_iter().map(|(value, _)| value).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

fn compact((value, text): (f64, String)) -> (f64, String) {
    if value >= 1000.0 { (value, tick_text(value, 0)) } else { (value, trim_zeros(text)) }
}

fn trim_zeros(text: String) -> String {
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A rectangle with two axes.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// Points between a tick and its text.
const GAP: f64 = 3.0;

/// The drawing area of a whole figure.
pub(super) type Area<'s> = DrawingArea<&'s mut Scene, Shift>;
/// A frame in which plotters draws values.
pub(super) type Chart<'s> = ChartContext<'s, &'s mut Scene, Cartesian2d<Axis, Axis>>;

/// Returns the style of text that is placed by some point of it; see [`super::backend`].
pub(super) fn text_style(size: f64, (h, v): (HPos, VPos), ink: Ink) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(pixels(size)), FontStyle::Normal);
    TextStyle { font, color: ink.into(), pos: Pos::new(h, v) }
}

impl Frame {
    pub(super) fn right(&self) -> f64 {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Returns the room in points that an axis of values needs left of the frame.
    pub(super) fn room_left(y: &Axis, height: f64) -> f64 {
        y.label_width(y_count(height)) + GAP + SMALL + 6.0
    }

    /// Returns the chart of the frame.
    pub(super) fn chart<'s>(&self, area: &Area<'s>) -> Result<Chart<'s>, Failure> {
        // plotters leaves the last pixel of an area free.
        let size = (pixels(self.width) + 1, pixels(self.height) + 1);
        let inner = area.clone().shrink(pixel((self.left, self.top)), size);
        ChartBuilder::on(&inner).build_cartesian_2d(self.x.clone(), self.y.clone())
    }

    /// Draws grid, ticks and titles of both axes.
    pub(super) fn draw(&self, area: &Area<'_>, chart: &Chart<'_>) -> Result<(), Failure> {
        let grid = Stroke::new(Ink::Faint, 0.5).shape();
        let count = y_count(self.height);
        let draw_line =
            |scene: &mut &mut Scene, line: MeshLine<'_, Axis, Axis>| line.draw(scene, &grid);
        chart.plotting_area().draw_mesh(draw_line, count, 0)?;
        let style = text_style(SMALL, (HPos::Right, VPos::Center), Ink::Text);
        for (value, text) in self.y.labels(count) {
            let (_, y) = chart.backend_coord(&(self.x.range.0, value));
            area.draw(&Text::new(text, (pixels(self.left - GAP), y), style.clone()))?;
        }
        self.draw_x(area, chart)?;
        let labels = self.y.label_width(count);
        let middle = (self.left - GAP - labels - 5.0, self.top + self.height / 2.0);
        let style = text_style(SMALL, (HPos::Center, VPos::Bottom), Ink::Text)
            .transform(FontTransform::Rotate270);
        area.draw(&Text::new(self.y.title.as_str(), pixel(middle), style))?;
        let ends = [(self.left, self.top), (self.left, self.bottom())].map(pixel);
        area.draw(&PathElement::new(ends, Stroke::new(Ink::Text, 0.6).shape()))
    }

    /// Draws the horizontal axis alone.
    pub(super) fn draw_x(&self, area: &Area<'_>, chart: &Chart<'_>) -> Result<(), Failure> {
        let bottom = self.bottom();
        let widest = self.x.label_width(8).max(8.0);
        let count = (self.width / (widest + 14.0)).clamp(2.0, 8.0) as usize;
        let style = text_style(SMALL, (HPos::Center, VPos::Top), Ink::Text);
        let axis = Stroke::new(Ink::Text, 0.6).shape();
        let mut free = i32::MIN;
        for (value, text) in self.x.labels(count) {
            let (x, _) = chart.backend_coord(&(value, self.y.range.0));
            let half = pixels(width(&text, SMALL) / 2.0);
            // A text that would touch the one before it is left out.
            if x - half < free {
                continue;
            }
            free = x + half + pixels(3.0);
            area.draw(&PathElement::new([(x, pixels(bottom)), (x, pixels(bottom + 2.0))], axis))?;
            area.draw(&Text::new(text, (x, pixels(bottom + 2.0 + GAP)), style.clone()))?;
        }
        let ends = [(self.left, bottom), (self.right(), bottom)].map(pixel);
        area.draw(&PathElement::new(ends, axis))?;
        let style = text_style(SMALL, (HPos::Center, VPos::Bottom), Ink::Text);
        let middle = pixel((self.left + self.width / 2.0, bottom + X_ROOM - 3.0));
        area.draw(&Text::new(self.x.title.as_str(), middle, style))
    }
}

/// Points below a frame for ticks and title of its horizontal axis.
pub(super) const X_ROOM: f64 = 26.0;

fn y_count(height: f64) -> usize {
    (height / 17.0).clamp(2.0, 8.0) as usize
}

/// Returns positions for texts at `wanted` heights that are at least `apart` from each other, within
/// `low..high` as far as that is possible.
pub(super) fn spread(wanted: &[f64], apart: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut placed = wanted.to_vec();
    for pair in order.windows(2) {
        placed[pair[1]] = placed[pair[1]].max(placed[pair[0]] + apart);
    }
    if let Some(&last) = order.last() {
        placed[last] = placed[last].min(high);
        for pair in order.windows(2).rev() {
            placed[pair[0]] = placed[pair[0]].min(placed[pair[1]] - apart);
        }
    }
    if let Some(&first) = order.first() {
        placed[first] = placed[first].max(low);
        for pair in order.windows(2) {
            placed[pair[1]] = placed[pair[1]].max(placed[pair[0]] + apart);
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(range: (f64, f64), count: usize, is_whole: bool) -> Vec<String> {
        let (values, decimals) = ticks(range, count, is_whole);
        values.into_iter().map(|value| tick_text(value, decimals)).collect()
    }

    #[test]
    fn whole_ticks_never_repeat() {
        assert_eq!(texts((1.0, 3.0), 8, true), ["1", "2", "3"]);
        assert_eq!(texts((0.0, 30.0), 6, true), ["0", "5", "10", "15", "20", "25", "30"]);
        assert_eq!(texts((0.0, 2000.0), 4, true), ["0", "500", "1000", "1500", "2000"]);
    }

    #[test]
    fn a_chart_has_our_ticks_at_places_in_the_frame() {
        let x = Axis::new("x", Scale::Log2, (1.0, 16.0));
        let y = Axis::new("y", Scale::Whole, (0.0, 3.0));
        let frame = Frame { left: 20.0, top: 10.0, width: 200.0, height: 90.0, x, y };
        let mut scene = Scene::default();
        let area = scene.area();
        let chart = frame.chart(&area).unwrap();
        let spec = chart.as_coord_spec().y_spec();
        assert_eq!((spec.key_points(8), spec.key_points(0)), (vec![0.0, 1.0, 2.0, 3.0], vec![]));
        let places = [(1.0, 0.0), (4.0, 1.0), (16.0, 3.0)].map(|at| chart.backend_coord(&at));
        assert_eq!(places, [(2000, 10_000), (12_000, 7000), (22_000, 1000)]);
    }

    #[test]
    fn ticks_have_the_decimals_that_tell_them_apart() {
        assert_eq!(texts((0.0, 1.0), 5, false), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts((-0.05, 0.1), 3, false), ["-0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(texts((0.991, 0.994), 3, false), ["0.991", "0.992", "0.993", "0.994"]);
        assert_eq!(tick_text(25_000.0, 0), "25k");
    }

    #[test]
    fn texts_that_would_meet_are_moved_apart() {
        let placed = spread(&[10.0, 11.0, 50.0, 49.0], 8.0, (0.0, 52.0));
        assert_eq!(placed, [10.0, 18.0, 52.0, 44.0]);
    }
}
