//! Accuracy of each aggregator at the largest group size, with intervals.

use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{
    BLACK, ChartBuilder, Color as _, DrawingBackend, ErrorBar, IntoFont as _, Rectangle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{BOUND_COLOR, COLORS, Drawing, FONT, save};
use super::{Figure, ScoreRow, footer};
use crate::Error;
use crate::html::file_name;

struct Bars {
    title: String,
    footer: String,
    rows: Vec<ScoreRow>,
}

pub(super) fn draw(benchmark: &str, rows: &[ScoreRow], folder: &Path) -> Result<Figure, Error> {
    let largest = rows.iter().map(|row| row.group_size).max().unwrap_or(1);
    let rows: Vec<_> = rows.iter().filter(|row| row.group_size == largest).cloned().collect();
    let title = format!("{benchmark}: accuracy by aggregator, G = {largest}");
    let caption = format!("{title}. Grey: an upper bound that sees labels.");
    let bars = Bars { title, footer: footer(&rows), rows };
    save(folder, &format!("accuracy-by-aggregator-{}", file_name(benchmark)), &caption, &bars)
}

impl Drawing for Bars {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let px = |length: u32| length * scale;
        let font = |size: u32| (FONT, px(size)).into_font();
        let top = self.rows.iter().map(|row| row.high).fold(0.05, f64::max);
        let top = (top * 1.15).min(1.05);
        let count = self.rows.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(18))
            .margin(px(12))
            .x_label_area_size(px(60))
            .y_label_area_size(px(52))
            .build_cartesian_2d(0.0..count, 0.0..top)
            .map_err(text)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .light_line_style(plotters::prelude::TRANSPARENT)
            .y_desc("accuracy")
            .y_labels(8)
            .y_label_formatter(&|value| format!("{value:.2}"))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .draw()
            .map_err(text)?;
        let plotting = chart.plotting_area();
        let mut colors = COLORS.iter();
        for (i, row) in self.rows.iter().enumerate() {
            let (left, center) = (i as f64 + 0.2, i as f64 + 0.5);
            let color =
                if row.is_bound { BOUND_COLOR } else { *colors.next().unwrap_or(&COLORS[0]) };
            let fill = color.mix(if row.is_bound { 0.35 } else { 0.85 }).filled();
            let bar = Rectangle::new([(left, 0.0), (left + 0.6, row.accuracy)], fill);
            plotting.draw(&bar).map_err(text)?;
            let whisker = ErrorBar::new_vertical(
                center,
                row.low,
                row.accuracy,
                row.high,
                BLACK.stroke_width(scale),
                px(10),
            );
            plotting.draw(&whisker).map_err(text)?;
            let style = font(13).color(&BLACK);
            let above = style.pos(Pos::new(HPos::Left, VPos::Bottom));
            let value =
                Text::new(format!(" {:.3}", row.accuracy), (center + 0.02, row.accuracy), above);
            plotting.draw(&value).map_err(text)?;
            let below = font(14).color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            let (x, y) = plotting.map_coordinate(&(center, 0.0));
            let name = Text::new(row.aggregator.clone(), (x, y + px(6) as i32), below);
            area.draw(&name).map_err(text)?;
        }
        let (width, height) = area.dim_in_pixel();
        let style = font(12).color(&BLACK.mix(0.6)).pos(Pos::new(HPos::Center, VPos::Bottom));
        let place = ((width / 2) as i32, (height - px(8)) as i32);
        area.draw(&Text::new(self.footer.clone(), place, style)).map_err(text)
    }
}
