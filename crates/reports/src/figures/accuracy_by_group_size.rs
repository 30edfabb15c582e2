//! Accuracy against the number of rollouts in a group, one line an aggregator, with intervals.

use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, DashedLineSeries, DrawingBackend, ErrorBar,
    IntoFont as _, LineSeries, PathElement, SeriesLabelPosition, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{BOUND_COLOR, COLORS, Drawing, FONT, save};
use super::{Figure, ScoreRow, footer};
use crate::Error;
use crate::html::file_name;

/// Sideways shift between the whiskers of two lines, in doublings of G.
const SHIFT: f64 = 0.05;

struct Lines {
    title: String,
    footer: String,
    sizes: Vec<u32>,
    aggregators: Vec<(String, Vec<ScoreRow>)>,
}

pub(super) fn draw(benchmark: &str, rows: &[ScoreRow], folder: &Path) -> Result<Figure, Error> {
    let mut aggregators: Vec<(String, Vec<ScoreRow>)> = Vec::new();
    for row in rows {
        match aggregators.iter_mut().find(|(name, _)| *name == row.aggregator) {
            Some((_, rows)) => rows.push(row.clone()),
            None => aggregators.push((row.aggregator.clone(), vec![row.clone()])),
        }
    }
    for (_, rows) in &mut aggregators {
        rows.sort_by_key(|row| row.group_size);
    }
    let mut sizes: Vec<_> = rows.iter().map(|row| row.group_size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let title = format!("{benchmark}: accuracy against rollouts in a group");
    let caption = format!("{title}. Grey and dashed: an upper bound that sees labels.");
    let lines = Lines { title, footer: footer(rows), sizes, aggregators };
    save(folder, &format!("accuracy-by-group-size-{}", file_name(benchmark)), &caption, &lines)
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
        let all = self.aggregators.iter().flat_map(|(_, rows)| rows);
        let top = (all.map(|row| row.high).fold(0.05, f64::max) * 1.1).min(1.05);
        let (first, last) = (self.sizes[0], self.sizes[self.sizes.len() - 1]);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(18))
            .margin(px(12))
            .x_label_area_size(px(64))
            .y_label_area_size(px(52))
            .build_cartesian_2d(x(first) - 0.3..x(last) + 0.3, 0.0..top)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .light_line_style(plotters::prelude::TRANSPARENT)
            .y_desc("accuracy")
            .y_labels(8)
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .draw()
            .map_err(text)?;
        let mut colors = COLORS.iter();
        let middle = (self.aggregators.len() as f64 - 1.0) / 2.0;
        for (i, (name, rows)) in self.aggregators.iter().enumerate() {
            let is_bound = rows.iter().any(|row| row.is_bound);
            let color = if is_bound { BOUND_COLOR } else { *colors.next().unwrap_or(&COLORS[0]) };
            let style = color.stroke_width(2 * scale);
            let shift = (i as f64 - middle) * SHIFT;
            let points: Vec<_> =
                rows.iter().map(|row| (x(row.group_size) + shift, row.accuracy)).collect();
            let line = if is_bound {
                chart.draw_series(DashedLineSeries::new(points.clone(), px(6), px(4), style))
            } else {
                chart.draw_series(LineSeries::new(points.clone(), style))
            };
            let legend =
                move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + px(22) as i32, y)], style);
            line.map_err(text)?.label(name).legend(legend);
            let whisker = |(row, point): (&ScoreRow, &(f64, f64))| {
                let style = color.stroke_width(scale);
                ErrorBar::new_vertical(point.0, row.low, row.accuracy, row.high, style, px(7))
            };
            chart.draw_series(rows.iter().zip(&points).map(whisker)).map_err(text)?;
            let dot = |point: &(f64, f64)| Circle::new(*point, px(4), color.filled());
            chart.draw_series(points.iter().map(dot)).map_err(text)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .margin(px(10))
            .legend_area_size(px(28))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .label_font(font(14))
            .draw()
            .map_err(text)?;
        let plotting = chart.plotting_area();
        for &size in &self.sizes {
            let (x, y) = plotting.map_coordinate(&(x(size), 0.0));
            let style = font(13).color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            let label = Text::new(size.to_string(), (x, y + px(6) as i32), style);
            area.draw(&label).map_err(text)?;
        }
        let (width, height) = area.dim_in_pixel();
        let center = Pos::new(HPos::Center, VPos::Bottom);
        let axis = font(14).color(&BLACK).pos(center);
        let place = ((width / 2) as i32, (height - px(30)) as i32);
        area.draw(&Text::new("rollouts in a group, G", place, axis)).map_err(text)?;
        let style = font(12).color(&BLACK.mix(0.6)).pos(center);
        let place = ((width / 2) as i32, (height - px(8)) as i32);
        area.draw(&Text::new(self.footer.clone(), place, style)).map_err(text)
    }
}
