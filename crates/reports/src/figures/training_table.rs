//! Rows of tables about training, as lines of figures.

use std::collections::BTreeSet;

use super::lines::{Line, Point};
use super::style::styles;
use crate::Error;
use crate::condition::TRAINED_ON;
use crate::label::value_label;
use crate::table::ReadTable;

/// The rows of one value in the column that tells panels apart: a split or a measure.
pub(super) struct PanelRows {
    /// The benchmark, where there are several.
    pub(super) benchmark: String,
    pub(super) value: String,
    pub(super) lines: Vec<Line>,
}

/// A row of either table.
struct Row {
    panel: (String, String),
    name: String,
    is_bound: bool,
    content: Content,
}

/// The part of a line that a row holds.
enum Content {
    Point(Point),
    Chosen(Vec<f64>),
}

/// Names the line of each row: what its policy was trained on, with its values on axes that differ
/// among policies of that name.
pub(super) fn line_names(table: &ReadTable) -> Result<Vec<String>, Error> {
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

/// Reads the lines of either table, in the order of their first row. A line looks the same in all
/// panels. `bounds` are the policies trained on labels, for tables that do not mark them row by row.
pub(super) fn read_panels(
    table: &ReadTable,
    panel_column: &str,
    mean: &str,
    bounds: &BTreeSet<String>,
) -> Result<Vec<PanelRows>, Error> {
    let rows = read_rows(table, panel_column, mean, bounds)?;
    let mut names: Vec<(&str, bool)> = Vec::new();
    for row in &rows {
        if names.iter().all(|(name, _)| *name != row.name) {
            names.push((&row.name, row.is_bound));
        }
    }
    let looks: Vec<(String, _)> = names
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .zip(styles(names.iter().copied()))
        .collect();
    let mut panels: Vec<PanelRows> = Vec::new();
    for Row { panel: (benchmark, value), name, content, .. } in rows {
        let is_same = |known: &PanelRows| known.benchmark == benchmark && known.value == value;
        let place = panels.iter().position(is_same).unwrap_or_else(|| {
            panels.push(PanelRows { benchmark, value, lines: Vec::new() });
            panels.len() - 1
        });
        let lines = &mut panels[place].lines;
        let known = lines.iter().position(|line| line.name == name);
        let line = known.unwrap_or_else(|| {
            let look = looks.iter().find(|(known, _)| *known == name);
            let style = look.expect("every name has a style").1;
            lines.push(Line { name, style, points: Vec::new(), chosen: Vec::new() });
            lines.len() - 1
        });
        match content {
            Content::Point(point) => lines[line].points.push(point),
            Content::Chosen(steps) => lines[line].chosen.extend(steps),
        }
    }
    Ok(panels)
}

fn read_rows(
    table: &ReadTable,
    panel_column: &str,
    mean: &str,
    bounds: &BTreeSet<String>,
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
        let (low, high) = (lows[i].unwrap_or(mean), highs[i].unwrap_or(mean));
        let content = match steps[i] {
            Some(step) => Content::Point(Point { x: step, mean, low, high }),
            None => {
                let steps = chosen[i].split_whitespace().filter_map(|step| step.parse().ok());
                Content::Chosen(steps.collect())
            }
        };
        let is_bound =
            if has_bounds { !sees_labels[i].is_empty() } else { bounds.contains(&trained_on[i]) };
        let benchmark = if several { benchmarks[i].clone() } else { String::new() };
        Some(Row {
            panel: (benchmark, panels[i].clone()),
            is_bound,
            name: names[i].clone(),
            content,
        })
    };
    Ok((0..names.len()).filter_map(row).collect())
}

/// Returns the first and the last step of some lines.
pub(super) fn step_range<'l>(lines: impl Iterator<Item = &'l Line> + Clone) -> (f64, f64) {
    let steps = || lines.clone().flat_map(|line| &line.points).map(|point| point.x);
    let first = steps().fold(f64::INFINITY, f64::min);
    let last = steps().fold(f64::NEG_INFINITY, f64::max);
    if first.is_finite() { (first, last.max(first + 1.0)) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::style::GREY;
    use super::*;
    use crate::table::Table;

    fn texts(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    fn read_back(table: &Table) -> Vec<PanelRows> {
        let folder = tempfile::tempdir().expect("a folder");
        table.write(folder.path(), "").expect("it is written");
        let table = ReadTable::read(folder.path(), "training_scores").expect("it is read");
        read_panels(&table, "split", "score", &BTreeSet::new()).expect("it has the columns")
    }

    #[test]
    fn training_runs_that_differ_in_an_axis_alone_have_lines_of_their_own() {
        let mut table = Table::new("training_scores", "");
        table.text("train.schedule.learning-rate", texts(&["0.1", "0.1", "0.2", "0.2", "0.1"]));
        table.text("benchmark", texts(&["b"; 5]));
        let trained_on = ["random reward", "random reward", "random reward", "random reward", "x"];
        table.text(TRAINED_ON, texts(&trained_on));
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
        let panels = read_back(&table);
        let lines: Vec<_> = panels[0]
            .lines
            .iter()
            .map(|line| (line.name.as_str(), line.points.len(), line.style.hue == GREY))
            .collect();
        assert_eq!(
            lines,
            [
                ("random reward, learning rate 0.1", 2, false),
                ("random reward, learning rate 0.2", 2, false),
                ("x", 1, true),
            ]
        );
    }

    #[test]
    fn the_chosen_steps_are_on_their_line() {
        let mut table = Table::new("training_scores", "");
        table.text("benchmark", texts(&["b"; 4]));
        table.text(TRAINED_ON, texts(&["rubric"; 4]));
        table.text("split", texts(&["validation"; 4]));
        table.optional_count("step", vec![Some(0), Some(5), Some(10), None]);
        table.text("chosen", texts(&["", "", "", "5 10"]));
        for column in ["score", "lowest", "highest"] {
            table.number(column, [0.5, 0.7, 0.6, 0.72].map(Some).to_vec());
        }
        let panels = read_back(&table);
        let line = &panels[0].lines[0];
        assert_eq!((line.points.len(), &line.chosen), (3, &vec![5.0, 10.0]));
        assert_eq!(step_range(panels[0].lines.iter()), (0.0, 10.0));
    }
}
