//! Score by group size, one line per aggregator, with intervals.

use super::axes::{Axis, Scale};
use super::canvas::{Figure, Sheet, Words};
use super::lines::{Line, Panel, Panels, Point, Range};
use super::scene::Scene;
use super::score_rows::{ScoreRow, footer};
use super::style::styles;
use crate::Error;
use crate::file::file_name;

pub(super) fn draw(
    setting: &str,
    rows: &[ScoreRow],
    sheet: &Sheet<'_>,
) -> Result<Option<Figure>, Error> {
    let mut sizes: Vec<_> = rows.iter().map(|row| row.group_size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let (Some(&first), Some(&last)) = (sizes.first(), sizes.last()) else { return Ok(None) };
    if first == last || rows.iter().all(|row| row.score == 0.0) {
        return Ok(None);
    }
    let mut x = Axis::new(
        "group size (rollouts)",
        Scale::Log2,
        (f64::from(first) / 1.15, f64::from(last) * 1.15),
    );
    x.ticks = Some(sizes.into_iter().map(f64::from).collect());
    let panel = Panel { title: String::new(), y: "score".to_owned(), lines: lines(rows) };
    let (range, panels) = (Range::Beside, vec![panel]);
    let panels = Panels { x, range, is_shared: false, least: None, panels };
    let title = format!("Does a larger group help on {setting}?");
    let mut scene = Scene::default();
    let top = sheet.title(&mut scene, &title);
    let bottom = panels.draw(&mut scene, sheet, top)?;
    let caption = "Scores of pseudo-references by the number of rollouts in a group. Grey: an upper \
                   bound that sees labels.";
    let name = format!("score-by-group-size-{}", file_name(setting));
    let words = Words { name, title, caption: caption.to_owned(), footer: footer(rows) };
    sheet.save(scene, bottom, words).map(Some)
}

/// Returns a line per aggregator, in the order of the table.
fn lines(rows: &[ScoreRow]) -> Vec<Line> {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for row in rows {
        if names.iter().all(|(name, _)| *name != row.aggregator) {
            names.push((&row.aggregator, row.is_bound));
        }
    }
    let line = |(&(name, _), style): (&(&str, bool), _)| {
        let mut of_line: Vec<&ScoreRow> =
            rows.iter().filter(|row| row.aggregator == name).collect();
        of_line.sort_by_key(|row| row.group_size);
        let point = |row: &&ScoreRow| Point {
            x: f64::from(row.group_size),
            mean: row.score,
            low: row.low,
            high: row.high,
        };
        let points = of_line.iter().map(point).collect();
        Line { name: name.to_owned(), style, points, chosen: Vec::new() }
    };
    names.iter().zip(styles(names.iter().copied())).map(line).collect()
}
