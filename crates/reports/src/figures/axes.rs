//! Axes: their ticks, and the rectangle in which values are drawn.

use super::outline::width;
use super::scene::{Anchor, Ink, Scene, Stroke};

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

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear | Self::Whole => value,
            Self::Log2 => value.log2(),
            Self::Log10 => value.log10(),
        }
    }
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

    /// Returns the share of the axis that lies before a value.
    fn share(&self, value: f64) -> f64 {
        let (low, high) = (self.scale.place(self.range.0), self.scale.place(self.range.1));
        (self.scale.place(value) - low) / (high - low)
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

impl Frame {
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let place = (self.left + self.width * self.x.share(x), self.y.share(y));
        (place.0, self.top + self.height * (1.0 - place.1))
    }

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

    /// Draws grid, ticks and titles of both axes.
    pub(super) fn draw(&self, scene: &mut Scene) {
        let grid = Stroke::new(Ink::Faint, 0.5);
        for (value, text) in self.y.labels(y_count(self.height)) {
            let (_, y) = self.at(self.x.range.0, value);
            scene.line(&[(self.left, y), (self.right(), y)], grid);
            let place = (self.left - GAP, y + 0.35 * SMALL);
            scene.text(place, &text, SMALL, Anchor::End, Ink::Text);
        }
        self.draw_x(scene);
        let middle = self.top + self.height / 2.0;
        let labels = self.y.label_width(y_count(self.height));
        let place = (self.left - GAP - labels - 5.0, middle);
        scene.upward(place, &self.y.title, SMALL, Anchor::Middle);
        let axis = [(self.left, self.top), (self.left, self.bottom())];
        scene.line(&axis, Stroke::new(Ink::Text, 0.6));
    }

    /// Draws the horizontal axis alone.
    pub(super) fn draw_x(&self, scene: &mut Scene) {
        let bottom = self.bottom();
        let widest = self.x.label_width(8).max(8.0);
        let count = (self.width / (widest + 14.0)).clamp(2.0, 8.0) as usize;
        let mut free = f64::NEG_INFINITY;
        for (value, text) in self.x.labels(count) {
            let (x, _) = self.at(value, self.y.range.0);
            let half = width(&text, SMALL) / 2.0;
            // A text that would touch the one before it is left out.
            if x - half < free {
                continue;
            }
            free = x + half + 3.0;
            scene.line(&[(x, bottom), (x, bottom + 2.0)], Stroke::new(Ink::Text, 0.6));
            let place = (x, bottom + 2.0 + GAP + 0.7 * SMALL);
            scene.text(place, &text, SMALL, Anchor::Middle, Ink::Text);
        }
        scene.line(&[(self.left, bottom), (self.right(), bottom)], Stroke::new(Ink::Text, 0.6));
        let place = (self.left + self.width / 2.0, bottom + X_ROOM - 3.0);
        scene.text(place, &self.x.title, SMALL, Anchor::Middle, Ink::Text);
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
