//! Training curves: scores by split, and the measures of each step. Lines are means over seeds;
//! bands reach from the lowest seed to the highest. Rings mark the steps that early stopping chose.

use std::collections::BTreeSet;
use std::path::Path;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, DashedLineSeries, DrawingBackend, IntoFont as _,
    LineSeries, Polygon, RGBColor, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use preceptor_core::{Better, StepMeasure};

use super::canvas::{BOUND_COLOR, Drawing, FONT, Figure, color, is_repeated, name_line, save};
use super::score_rows::count_range;
use crate::Error;
use crate::condition::TRAINED_ON;
use crate::label::value_label;
use crate::table::ReadTable;

/// Size of a panel in pixels.
const PANEL: (u32, u32) = (360, 260);
/// Panels per row.
const COLUMNS: u32 = 2;
/// Pixels above the panels for the title.
const TITLE: u32 = 34;
/// Height in pixels of a row of line names below the panels.
const NAMES: u32 = 24;
/// Pixels beside the names.
const MARGIN: u32 = 16;

/// Measures of steps that have a panel.
const MEASURES: [StepMeasure; 8] = [
    StepMeasure::RewardMean,
    StepMeasure::ScoreMean,
    StepMeasure::ReferenceScore,
    StepMeasure::Kl,
    StepMeasure::Entropy,
    StepMeasure::UniqueAnswers,
    StepMeasure::GroupsVaried,
    StepMeasure::GradientNorm,
];

/// Returns the title of a measure's panel: its label, its unit and the direction in which it is better.
fn panel_title(measure: StepMeasure) -> String {
    let better = match measure.better() {
        Better::Neither => String::new(),
        better => format!("{} is better", better.name()),
    };
    let notes: Vec<_> = [measure.unit(), &better].into_iter().filter(|n| !n.is_empty()).collect();
    if notes.is_empty() {
        measure.label().to_owned()
    } else {
        format!("{} ({})", measure.label(), notes.join(", "))
    }
}

#[derive(Clone, Debug)]
struct Point {
    step: f64,
    mean: f64,
    low: f64,
    high: f64,
}

#[derive(Clone, Debug)]
struct Line {
    name: String,
    color: RGBColor,
    is_dashed: bool,
    points: Vec<Point>,
    /// Steps whose policies are reported.
    chosen: Vec<f64>,
}

struct Panel {
    title: String,
    lines: Vec<Line>,
}

struct Panels {
    title: String,
    panels: Vec<Panel>,
}

/// A row of either table.
struct Row {
    panel: String,
    name: String,
    is_bound: bool,
    content: Content,
}

/// The part of a line that a row holds.
enum Content {
    Point(Point),
    Chosen(Vec<f64>),
}

pub(super) fn draw(tables: &Path, figures: &Path) -> Result<Vec<Figure>, Error> {
    let mut drawn = Vec::new();
    let Some(scores) = ReadTable::read_if_there(tables, "training_scores")? else {
        return Ok(drawn);
    };
    let sees_labels = scores.texts_if_there("sees_labels")?;
    let named = scores.texts(TRAINED_ON)?.into_iter().zip(sees_labels);
    let bounds: BTreeSet<String> =
        named.filter(|(_, sees)| !sees.is_empty()).map(|(name, _)| name).collect();
    let rows = read(&scores, "split", "score", &bounds, split_panel)?;
    let over = format!(
        "means over {}, bands from the lowest to the highest seed",
        count_range(&scores.numbers("seeds")?, "seed")
    );
    let has_chosen = rows.iter().any(|row| matches!(row.content, Content::Chosen(_)));
    let rings = if has_chosen { " Rings: steps chosen by early stopping." } else { "" };
    let title = "Score of the policy by training step".to_owned();
    let caption = format!("{title}: {over}. Grey: trained on labels.{rings}");
    let panels = Panels { title, panels: panels_of(rows) };
    drawn.push(save(figures, "learning-curves", &caption, &panels)?);

    if let Some(steps) = ReadTable::read_if_there(tables, "training_steps")? {
        let panel = |name: &str| {
            let order = MEASURES.iter().position(|known| known.name() == name)?;
            Some((order, panel_title(MEASURES[order])))
        };
        let rows = read(&steps, "measure", "mean", &bounds, panel)?;
        let title = "Measures of the training steps".to_owned();
        let caption = format!("{title}: {over}. Grey: trained on labels.");
        let panels = Panels { title, panels: panels_of(rows) };
        drawn.push(save(figures, "training-steps", &caption, &panels)?);
    }
    Ok(drawn)
}

/// Names the line of each row: what its policy was trained on, with its values on axes that differ
/// among policies of that name.
fn line_names(table: &ReadTable) -> Result<Vec<String>, Error> {
    let trained_on = table.texts(TRAINED_ON)?;
    let mut names = trained_on.clone();
    for axis in table.header().into_iter().take_while(|column| column != "benchmark") {
        let values = table.texts(&axis)?;
        let of = |name: &str| {
            let rows = trained_on.iter().zip(&values).filter(|(known, _)| *known == name);
            rows.map(|(_, value)| value.as_str()).collect::<BTreeSet<_>>()
        };
        for ((name, trained_on), value) in names.iter_mut().zip(&trained_on).zip(&values) {
            if of(trained_on).len() > 1 {
                name.push_str(&format!(", {}", value_label(&axis, value)));
            }
        }
    }
    Ok(names)
}

/// Panels of scores keep the order of the table.
fn split_panel(split: &str) -> Option<(usize, String)> {
    Some((0, split.to_owned()))
}

/// Reads the rows of either table, in the order of their panels. `panel` gives the order and the title of a
/// value in the column `panel_column`, or none where it has no panel. `bounds` are the policies trained on
/// labels, for tables that do not mark them row by row.
fn read(
    table: &ReadTable,
    panel_column: &str,
    mean: &str,
    bounds: &BTreeSet<String>,
    panel: impl Fn(&str) -> Option<(usize, String)>,
) -> Result<Vec<Row>, Error> {
    let (panels, names) = (table.texts(panel_column)?, line_names(table)?);
    let trained_on = table.texts(TRAINED_ON)?;
    let has_bounds = table.has("sees_labels");
    let sees_labels = table.texts_if_there("sees_labels")?;
    let chosen = table.texts_if_there("chosen")?;
    let (steps, means) = (table.numbers("step")?, table.numbers(mean)?);
    let (lows, highs) = (table.numbers("lowest")?, table.numbers("highest")?);
    let benchmarks = table.texts("benchmark")?;
    let several = benchmarks.iter().any(|benchmark| *benchmark != benchmarks[0]);
    let row = |i: usize| {
        let mean = means[i]?;
        let (order, title) = panel(&panels[i])?;
        let panel = if several { format!("{}, {title}", benchmarks[i]) } else { title };
        let (low, high) = (lows[i].unwrap_or(mean), highs[i].unwrap_or(mean));
        let content = match steps[i] {
            Some(step) => Content::Point(Point { step, mean, low, high }),
            None => {
                let steps = chosen[i].split_whitespace().filter_map(|step| step.parse().ok());
                Content::Chosen(steps.collect())
            }
        };
        let is_bound =
            if has_bounds { !sees_labels[i].is_empty() } else { bounds.contains(&trained_on[i]) };
        Some((order, Row { panel, is_bound, name: names[i].clone(), content }))
    };
    let mut rows: Vec<(usize, Row)> = (0..names.len()).filter_map(row).collect();
    rows.sort_by_key(|(order, _)| *order);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Arranges rows as panels, in the order of their first row; a line has the same colour in all
/// panels.
fn panels_of(rows: Vec<Row>) -> Vec<Panel> {
    let mut names: Vec<(String, bool)> = Vec::new();
    for row in &rows {
        if names.iter().all(|(name, _)| *name != row.name) {
            names.push((row.name.clone(), row.is_bound));
        }
    }
    let style = |name: &str| {
        let place = names.iter().position(|(known, _)| known == name).unwrap_or(0);
        if names[place].1 {
            return (BOUND_COLOR, true);
        }
        let number = names[..place].iter().filter(|(_, is_bound)| !is_bound).count();
        (color(number), is_repeated(number))
    };
    let mut panels: Vec<Panel> = Vec::new();
    for row in rows {
        let place = panels.iter().position(|panel| panel.title == row.panel).unwrap_or_else(|| {
            panels.push(Panel { title: row.panel.clone(), lines: Vec::new() });
            panels.len() - 1
        });
        let lines = &mut panels[place].lines;
        let known = lines.iter().position(|line| line.name == row.name);
        let line = known.unwrap_or_else(|| {
            let (color, is_dashed) = style(&row.name);
            let (points, chosen) = (Vec::new(), Vec::new());
            lines.push(Line { name: row.name, color, is_dashed, points, chosen });
            lines.len() - 1
        });
        match row.content {
            Content::Point(point) => lines[line].points.push(point),
            Content::Chosen(steps) => lines[line].chosen.extend(steps),
        }
    }
    panels
}

impl Panel {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let px = |length: u32| length * scale;
        let font = |size: u32| (FONT, px(size)).into_font();
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let fold = |of: fn(&Point) -> f64, pick: fn(f64, f64) -> f64| points().map(of).reduce(pick);
        let low = fold(|p| p.low, f64::min).unwrap_or(0.0);
        let high = fold(|p| p.high, f64::max).unwrap_or(1.0);
        // A constant value gets a range around it.
        let room = if high > low { (high - low) * 0.08 } else { 0.5 * high.abs().max(0.1) };
        let bottom = if (0.0..=high - low).contains(&low) { 0.0 } else { low - room };
        let first = fold(|p| p.step, f64::min).unwrap_or(0.0);
        let last = fold(|p| p.step, f64::max).unwrap_or(1.0).max(first + 1.0);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, font(14))
            .margin(px(8))
            .margin_right(px(16))
            .x_label_area_size(px(36))
            .y_label_area_size(px(48))
            .build_cartesian_2d(first..last, bottom..high + room)
            .map_err(text)?;
        let range = high + room - bottom;
        let digits = if range < 0.02 {
            4
        } else if range < 0.2 {
            3
        } else {
            2
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(plotters::prelude::TRANSPARENT)
            .x_desc("step")
            .x_labels(6)
            .x_label_formatter(&|value| format!("{value:.0}"))
            .y_labels(6)
            .y_label_formatter(&|value| format!("{value:.digits$}"))
            .label_style(font(11))
            .axis_desc_style(font(12))
            .draw()
            .map_err(text)?;
        for line in self.lines.iter().filter(|line| line.points.len() > 1) {
            let lower = line.points.iter().map(|point| (point.step, point.low));
            let upper = line.points.iter().rev().map(|point| (point.step, point.high));
            let band: Vec<_> = lower.chain(upper).collect();
            chart.draw_series([Polygon::new(band, line.color.mix(0.15))]).map_err(text)?;
        }
        for line in &self.lines {
            let style = line.color.stroke_width(2 * scale);
            let points: Vec<_> = line.points.iter().map(|point| (point.step, point.mean)).collect();
            let drawn = if line.is_dashed {
                chart.draw_series(DashedLineSeries::new(points, px(6), px(4), style)).map(|_| ())
            } else {
                chart.draw_series(LineSeries::new(points, style)).map(|_| ())
            };
            drawn.map_err(text)?;
            let is_chosen = |point: &&Point| line.chosen.contains(&point.step);
            let ring = |point: &Point| {
                let style = line.color.stroke_width(2 * scale);
                Circle::new((point.step, point.mean), px(5), style)
            };
            let rings = line.points.iter().filter(is_chosen).map(ring);
            chart.draw_series(rings).map_err(text)?;
        }
        Ok(())
    }
}

impl Panels {
    /// Returns rows of lines, with as many per row as their names leave room for.
    fn legend(&self) -> Vec<Vec<&Line>> {
        let mut rows: Vec<Vec<&Line>> = Vec::new();
        let mut left = u32::MAX;
        for line in self.panels.iter().flat_map(|panel| &panel.lines) {
            if rows.iter().flatten().any(|known| known.name == line.name) {
                continue;
            }
            if left.saturating_add(width_in_legend(line)) > COLUMNS * PANEL.0 {
                rows.push(Vec::new());
                left = MARGIN;
            }
            left += width_in_legend(line);
            rows.last_mut().expect("the first line begins one").push(line);
        }
        rows
    }
}

/// Returns the width in pixels of a line's stroke and name in the legend.
fn width_in_legend(line: &Line) -> u32 {
    26 + 8 * line.name.chars().count() as u32 + MARGIN
}

impl Drawing for Panels {
    fn size(&self) -> (u32, u32) {
        let rows = (self.panels.len() as u32).div_ceil(COLUMNS);
        let names = NAMES * self.legend().len() as u32;
        (COLUMNS * PANEL.0, TITLE + rows * PANEL.1 + names + NAMES / 2)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        let text = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let px = |length: u32| length * scale;
        let font = |size: u32| (FONT, px(size)).into_font();
        let (width, height) = area.dim_in_pixel();
        let legend = self.legend();
        let style = font(18).color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        let place = ((width / 2) as i32, px(10) as i32);
        area.draw(&Text::new(self.title.clone(), place, style)).map_err(text)?;
        for (number, panel) in (0_u32..).zip(&self.panels) {
            let (column, row) = (number % COLUMNS, number / COLUMNS);
            let (left, top) = (px(column * PANEL.0), px(TITLE + row * PANEL.1));
            let part = area.clone().shrink((left, top), (px(PANEL.0), px(PANEL.1)));
            panel.draw(&part, scale)?;
        }
        let top = height - px(NAMES * legend.len() as u32);
        for (number, row) in (0..).zip(legend) {
            let y = (top + px(NAMES * number)) as i32;
            let mut left = MARGIN;
            for line in row {
                let place = (px(left) as i32, y);
                name_line(area, place, (&line.name, line.color, line.is_dashed), scale)?;
                left += width_in_legend(line);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn training_runs_that_differ_in_an_axis_alone_have_lines_of_their_own() {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let mut table = Table::new("training_scores", "");
        table.text("train.schedule.learning-rate", texts(&["0.1", "0.1", "0.2", "0.2", "0.1"]));
        table.text("benchmark", texts(&["b"; 5]));
        table.text(
            TRAINED_ON,
            texts(&["random", "random", "random", "random", "a form that is long to name"]),
        );
        table.text("split", texts(&["held-out"; 5]));
        for (column, values) in [
            ("step", [0.0, 1.0, 0.0, 1.0, 0.0]),
            ("score", [0.5, 0.6, 0.5, 0.4, 0.5]),
            ("lowest", [0.5; 5]),
            ("highest", [0.5; 5]),
        ] {
            table.number(column, values.map(Some).to_vec());
        }
        table.text("sees_labels", texts(&["", "", "", "", "reward"]));
        let folder = tempfile::tempdir().unwrap();
        table.write(folder.path()).unwrap();
        let table = ReadTable::read(folder.path(), "training_scores").unwrap();
        let rows = read(&table, "split", "score", &BTreeSet::new(), split_panel).unwrap();
        let panels = Panels { title: String::new(), panels: panels_of(rows) };
        let lines: Vec<_> = panels.panels[0]
            .lines
            .iter()
            .map(|line| (line.name.as_str(), line.points.len(), line.is_dashed))
            .collect();
        assert_eq!(
            lines,
            [
                ("random, learning rate 0.1", 2, false),
                ("random, learning rate 0.2", 2, false),
                ("a form that is long to name", 1, true),
            ]
        );
        assert_eq!(panels.legend().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn the_chosen_steps_are_marked_on_their_line() {
        let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let mut table = Table::new("training_scores", "");
        table.text("benchmark", texts(&["b"; 4]));
        table.text(TRAINED_ON, texts(&["rubric"; 4]));
        table.text("split", texts(&["validation"; 4]));
        table.optional_count("step", vec![Some(0), Some(5), Some(10), None]);
        table.text("chosen", texts(&["", "", "", "5 10"]));
        for column in ["score", "lowest", "highest"] {
            table.number(column, [0.5, 0.7, 0.6, 0.72].map(Some).to_vec());
        }
        let folder = tempfile::tempdir().unwrap();
        table.write(folder.path()).unwrap();
        let table = ReadTable::read(folder.path(), "training_scores").unwrap();
        let panels =
            panels_of(read(&table, "split", "score", &BTreeSet::new(), split_panel).unwrap());
        assert_eq!(
            (panels[0].lines[0].points.len(), &panels[0].lines[0].chosen),
            (3, &vec![5.0, 10.0])
        );
        let drawing = Panels { title: String::new(), panels };
        let figure = save(folder.path(), "curves", "", &drawing).unwrap();
        assert_eq!(figure.svg.matches("<circle").count(), 2);
    }
}
