//! Score of each aggregator at the largest group size, with intervals.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, save};
use super::score_rows::{ScoreRow, footer};
use crate::Error;
use crate::file::file_name;
use crate::number::format_number;

pub(super) fn draw(setting: &str, rows: &[ScoreRow], folder: &Path) -> Result<Figure, Error> {
    let largest = rows.iter().map(|row| row.group_size).max().unwrap_or(1);
    let rows: Vec<_> = rows.iter().filter(|row| row.group_size == largest).cloned().collect();
    let title = format!("{setting}: score by aggregator, groups of {largest}");
    let caption =
        format!("{title}. Grey: an upper bound whose aggregator or training sees labels.");
    let mut colors = 0..;
    let mut bar = |row: &ScoreRow| Bar {
        name: row.aggregator.clone(),
        value: row.score,
        low: row.low,
        high: row.high,
        text: text(row),
        color: if row.is_bound { None } else { colors.next() },
    };
    let bars = Bars {
        title,
        footer: footer(&rows),
        axis: "score",
        origin: 0.0,
        shown: (0.0, 0.05),
        bars: rows.iter().map(&mut bar).collect(),
    };
    save(folder, &format!("score-by-aggregator-{}", file_name(setting)), &caption, &bars)
}

/// Returns the score, with the share of prompts scored if it is below 1.
fn text(row: &ScoreRow) -> String {
    let score = format_number(row.score);
    if row.coverage < 1.0 {
        format!("{score} ({:.0} % scored)", 100.0 * row.coverage)
    } else {
        score
    }
}
