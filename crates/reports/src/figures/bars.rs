//! Horizontal bars with names on the left, whiskers and values: readable with any number of rows
//! and any length of name.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{
    BLACK, ChartBuilder, Color as _, DrawingBackend, ErrorBar, IntoFont as _, PathElement,
    Rectangle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{BOUND_COLOR, Drawing, FONT, SIZE, color};

/// A bar.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The text at its right.
    pub(super) text: String,
    /// The index of its colour; none for an upper bound.
    pub(super) color: Option<usize>,
}

/// A figure of bars.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) footer: String,
    /// The title of the axis.
    pub(super) axis: &'static str,
    /// The value at which bars begin.
    pub(super) origin: f64,
    /// The range that the axis shows at least.
    pub(super) shown: (f64, f64),
    pub(super) bars: Vec<Bar>,
}

/// Height of a row in pixels.
const ROW: u32 = 30;
/// Pixels above and below the rows.
const AROUND: u32 = 128;
/// Width of a letter of a name in pixels, at most on average.
const LETTER: usize = 7;

impl Bars {
    /// Returns the range of the axis: all values, with a margin where they exceed the least range.
    fn range(&self) -> (f64, f64) {
        let low = self.bars.iter().map(|bar| bar.low.min(bar.value)).fold(self.shown.0, f64::min);
        let high = self.bars.iter().map(|bar| bar.high.max(bar.value)).fold(self.shown.1, f64::max);
        let room = (high - low).max(1e-9) * 0.05;
        let low = if low < self.shown.0 { low - room } else { low };
        (low, if high > self.shown.1 { high + room } else { high })
    }
}

impl Drawing for Bars {
    fn size(&self) -> (u32, u32) {
        (SIZE.0, (AROUND + ROW * self.bars.len() as u32).max(SIZE.1 / 2))
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let px = |length: u32| length * scale;
        let font = |size: u32| (FONT, px(size)).into_font();
        let (low, high) = self.range();
        let count = self.bars.len() as f64;
        let longest = |of: fn(&Bar) -> &String| {
            let lengths = self.bars.iter().map(|bar| of(bar).chars().count());
            (lengths.max().unwrap_or(0) * LETTER) as u32
        };
        let names = (longest(|bar| &bar.name) + 12).min(SIZE.0 / 2);
        let values = (longest(|bar| &bar.text) + 12).min(SIZE.0 / 3);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(18))
            .margin(px(12))
            .margin_right(px(values))
            .margin_bottom(px(30))
            .x_label_area_size(px(42))
            .y_label_area_size(px(names))
            .build_cartesian_2d(low..high, 0.0..count)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .light_line_style(plotters::prelude::TRANSPARENT)
            .x_desc(self.axis)
            .x_labels(8)
            .x_label_formatter(&|value| format!("{value:.2}"))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .draw()
            .map_err(text)?;
        let plotting = chart.plotting_area();
        for (i, bar) in self.bars.iter().enumerate() {
            let bottom = count - 1.0 - i as f64;
            let middle = bottom + 0.5;
            let fill = match bar.color {
                Some(number) => color(number).mix(0.85).filled(),
                None => BOUND_COLOR.mix(0.35).filled(),
            };
            let ends = [(self.origin, bottom + 0.2), (bar.value, bottom + 0.8)];
            plotting.draw(&Rectangle::new(ends, fill)).map_err(text)?;
            if bar.low < bar.high {
                let style = BLACK.stroke_width(scale);
                let whisker =
                    ErrorBar::new_horizontal(middle, bar.low, bar.value, bar.high, style, px(8));
                plotting.draw(&whisker).map_err(text)?;
            }
            let (left, y) = plotting.map_coordinate(&(low, middle));
            let (right, _) = plotting.map_coordinate(&(high, middle));
            let style = font(14).color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
            let place = (left - px(8) as i32, y);
            area.draw(&Text::new(bar.name.clone(), place, style)).map_err(text)?;
            let style = font(13).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
            let place = (right + px(8) as i32, y);
            area.draw(&Text::new(bar.text.clone(), place, style)).map_err(text)?;
        }
        let line = [(self.origin, 0.0), (self.origin, count)];
        plotting.draw(&PathElement::new(line, BLACK.stroke_width(scale))).map_err(text)?;
        let (width, height) = area.dim_in_pixel();
        let style = font(12).color(&BLACK.mix(0.6)).pos(Pos::new(HPos::Center, VPos::Bottom));
        let place = ((width / 2) as i32, (height - px(8)) as i32);
        area.draw(&Text::new(self.footer.clone(), place, style)).map_err(text)
    }
}
