//! Score of each aggregator at the largest group size, with intervals.

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::{ScoreRow, at_largest, capital, footer};
use crate::Error;
use crate::file::file_name;
use crate::number::format_number;

pub(super) fn draw(
    setting: &str,
    rows: &[ScoreRow],
    sheet: &Sheet<'_>,
) -> Result<Option<Figure>, Error> {
    let rows = at_largest(rows);
    let Some(first) = rows.first() else { return Ok(None) };
    let of = if first.is_trained { "trained policies" } else { "policies" };
    let caption = format!(
        "Scores of pseudo-references from groups of {} rollouts of {of}. Grey: an upper bound whose \
         aggregator or training sees labels.",
        first.group_size
    );
    let bar = |row: &ScoreRow| Bar {
        name: row.aggregator.clone(),
        value: row.score,
        low: row.low,
        high: row.high,
        text: text(row),
        label: row.aggregator.clone(),
        is_bound: row.is_bound,
    };
    let name = format!("score-by-aggregator-{}", file_name(setting));
    let words = Words { name, title: finding(setting, &rows), caption, footer: footer(&rows) };
    let bars = rows.iter().map(bar).collect();
    let (origin, shown) = (0.0, (0.0, 0.05));
    Bars { words, axis: "score", text: "score", origin, shown, bars }.save(sheet)
}

/// Says which method is best, if that is known.
fn finding(setting: &str, rows: &[ScoreRow]) -> String {
    let with = |standing: &str| {
        let mut found: Vec<_> = rows.iter().filter(|row| row.standing == standing).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found
    };
    let num_methods = rows.iter().filter(|row| !row.is_bound).count();
    let after = if rows.iter().any(|row| row.is_trained) { " after training" } else { "" };
    if let [best] = with("best")[..] {
        let (name, score) = (capital(&best.aggregator), format_number(best.score));
        return format!("{name} scores best on {setting}{after}: {score}");
    }
    match with("tied for best")[..] {
        [] => format!("Which method scores best on {setting}{after}?"),
        [a, b] => {
            format!(
                "{} and {} are tied for best on {setting}{after}",
                capital(&a.aggregator),
                b.aggregator
            )
        }
        ref tied => {
            format!("{} of {num_methods} methods are tied for best on {setting}{after}", tied.len())
        }
    }
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
