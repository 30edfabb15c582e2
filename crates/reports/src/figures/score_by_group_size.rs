//! Score by group size, one line per aggregator, with intervals. Names stand beside the lines, so
//! that they never cover a point.

use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, DashedLineSeries, DrawingBackend, ErrorBar,
    IntoFont as _, LineSeries, RGBColor, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{
    BOUND_COLOR, Drawing, FONT, Figure, SIZE, color, is_repeated, name_line, save,
};
use super::score_rows::{ScoreRow, footer};
use crate::Error;
use crate::file::file_name;

/// Horizontal room that the whiskers of all lines at one group size share, in doublings of the
/// group size.
const SPREAD: f64 = 0.4;
/// The largest horizontal shift between the whiskers of two lines, in doublings of the group size.
const SHIFT: f64 = 0.05;

struct Line {
    name: String,
    color: RGBColor,
    is_dashed: bool,
    rows: Vec<ScoreRow>,
}

struct Lines {
    title: String,
    footer: String,
    sizes: Vec<u32>,
    lines: Vec<Line>,
}

pub(super) fn draw(setting: &str, rows: &[ScoreRow], folder: &Path) -> Result<Figure, Error> {
    let mut lines: Vec<Line> = Vec::new();
    let mut colors = 0..;
    for row in rows {
        if let Some(line) = lines.iter_mut().find(|line| line.name == row.aggregator) {
            line.rows.push(row.clone());
            continue;
        }
        let number = if row.is_bound { None } else { colors.next() };
        lines.push(Line {
            name: row.aggregator.clone(),
            color: number.map_or(BOUND_COLOR, color),
            is_dashed: number.is_none_or(is_repeated),
            rows: vec![row.clone()],
        });
    }
    for line in &mut lines {
        line.rows.sort_by_key(|row| row.group_size);
    }
    let mut sizes: Vec<_> = rows.iter().map(|row| row.group_size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let title = format!("{setting}: score by group size");
    let caption = format!("{title}. Grey and dashed: an upper bound that sees labels.");
    let lines = Lines { title, footer: footer(rows), sizes, lines };
    save(folder, &format!("score-by-group-size-{}", file_name(setting)), &caption, &lines)
}

impl Lines {
    /// Returns the range of scores that is shown. It begins at 0, unless all scores are close
    /// together and far from it.
    fn range(&self) -> (f64, f64) {
        let rows = || self.lines.iter().flat_map(|line| &line.rows);
        let low = rows().map(|row| row.low).fold(f64::INFINITY, f64::min);
        let high = rows().map(|row| row.high).fold(0.05, f64::max);
        let room = (high - low) * 0.1;
        let bottom = if low > 2.0 * (high - low) { low - room } else { low.min(0.0) * 1.1 };
        (bottom, (high + room).min(1.05))
    }
}

impl Drawing for Lines {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let px = |length: u32| length * scale;
        let font = |size: u32| (FONT, px(size)).into_font();
        let x = |size: u32| f64::from(size).log2();
        let (bottom, top) = self.range();
        let (first, last) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        let longest = self.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        let names = (longest as u32 * 7 + 44).min(SIZE.0 / 2);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(18))
            .margin(px(12))
            .margin_right(px(names))
            .x_label_area_size(px(64))
            .y_label_area_size(px(52))
            .build_cartesian_2d(x(first) - 0.3..x(last) + 0.3, bottom..top)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .light_line_style(plotters::prelude::TRANSPARENT)
            .y_desc("score")
            .y_labels(8)
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .draw()
            .map_err(text)?;
        let count = self.lines.len() as f64;
        let shift = SHIFT.min(SPREAD / count);
        for (i, line) in self.lines.iter().enumerate() {
            let style = line.color.stroke_width(2 * scale);
            let shift = (i as f64 - (count - 1.0) / 2.0) * shift;
            let points: Vec<_> =
                line.rows.iter().map(|row| (x(row.group_size) + shift, row.score)).collect();
            let drawn = if line.is_dashed {
                let dashes = DashedLineSeries::new(points.clone(), px(6), px(4), style);
                chart.draw_series(dashes).map(|_| ())
            } else {
                chart.draw_series(LineSeries::new(points.clone(), style)).map(|_| ())
            };
            drawn.map_err(text)?;
            let whisker = |(row, point): (&ScoreRow, &(f64, f64))| {
                let style = line.color.stroke_width(scale);
                ErrorBar::new_vertical(point.0, row.low, row.score, row.high, style, px(7))
            };
            let has_interval = |(row, _): &(&ScoreRow, &(f64, f64))| row.low < row.high;
            let whiskers = line.rows.iter().zip(&points).filter(has_interval).map(whisker);
            chart.draw_series(whiskers).map_err(text)?;
            let dot = |point: &(f64, f64)| Circle::new(*point, px(4), line.color.filled());
            chart.draw_series(points.iter().map(dot)).map_err(text)?;
        }
        let plotting = chart.plotting_area();
        for &size in &self.sizes {
            let (x, y) = plotting.map_coordinate(&(x(size), bottom));
            let style = font(13).color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            let label = Text::new(size.to_string(), (x, y + px(6) as i32), style);
            area.draw(&label).map_err(text)?;
        }
        let (right, upper) = plotting.map_coordinate(&(x(last) + 0.3, top));
        for (i, line) in self.lines.iter().enumerate() {
            let (left, y) = (right + px(12) as i32, upper + (px(14) + px(20) * i as u32) as i32);
            name_line(area, (left, y), (&line.name, line.color, line.is_dashed), scale)?;
        }
        let (width, height) = area.dim_in_pixel();
        let center = Pos::new(HPos::Center, VPos::Bottom);
        let axis = font(14).color(&BLACK).pos(center);
        let place = (((width - px(names)) / 2) as i32, (height - px(30)) as i32);
        area.draw(&Text::new("group size (rollouts)", place, axis)).map_err(text)?;
        let style = font(12).color(&BLACK.mix(0.6)).pos(center);
        let place = ((width / 2) as i32, (height - px(8)) as i32);
        area.draw(&Text::new(self.footer.clone(), place, style)).map_err(text)
    }
}
