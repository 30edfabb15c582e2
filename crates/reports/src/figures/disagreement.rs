//! Share of groups to which two aggregators give different answers, and which of them is right
//! then, at the largest group size. Pairs are those of the aggregator that the table names first.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::{Subject, by_setting, count_range, subjects};
use crate::Error;
use crate::file::file_name;
use crate::table::ReadTable;

struct Row {
    setting: String,
    group_size: u32,
    pair: (String, String),
    values: [Option<f64>; 5],
    /// The number of groups.
    compared: Option<f64>,
}

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let Some(table) = ReadTable::read_if_there(tables, "disagreement")? else {
        return Ok(Vec::new());
    };
    let mut drawn = Vec::new();
    for (setting, rows) in by_setting(read(&table)?, |row| &row.setting) {
        let largest = rows.iter().map(|row| row.group_size).max().unwrap_or(1);
        let Some(first) = rows.iter().find(|row| row.group_size == largest) else { continue };
        let first = first.pair.0.clone();
        let is_shown = |row: &&Row| row.group_size == largest && row.pair.0 == first;
        let shown: Vec<&Row> = rows.iter().filter(is_shown).collect();
        let compared: Vec<Option<f64>> = shown.iter().map(|row| row.compared).collect();
        let words = Words {
            name: format!("disagreement-{}", file_name(&setting)),
            title: format!(
                "How often does {first} answer differently on {setting}, and who is right?"
            ),
            caption: format!(
                "Groups of {largest} rollouts to which {first} and another aggregator give different answers. \
                 At the right: the share of these that {first} gets right, and the other."
            ),
            footer: format!("{}, 95% intervals over prompts", count_range(&compared, "group")),
        };
        let bars = shown.into_iter().filter_map(bar).collect();
        let axis = "share of groups with different answers";
        let text = "right where they differ";
        let (origin, range) = (0.0, (0.0, 0.05));
        drawn.extend(Bars { words, axis, text, origin, shown: range, bars }.save(sheet)?);
    }
    Ok(drawn)
}

fn bar(row: &Row) -> Option<Bar> {
    let [share, low, high, a_right, b_right] = row.values;
    let value = share?;
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{:.0} %", value * 100.0))
    };
    Some(Bar {
        name: format!("vs {}", row.pair.1),
        value,
        low: low.unwrap_or(value),
        high: high.unwrap_or(value),
        text: format!("{} : {}", percent(a_right), percent(b_right)),
        label: row.pair.1.clone(),
        is_bound: false,
    })
}

fn read(table: &ReadTable) -> Result<Vec<Row>, Error> {
    let (a, b) = (table.texts("a")?, table.texts("b")?);
    let sizes = table.numbers("group_size")?;
    let columns = ["differ", "low", "high", "a_right", "b_right"].map(|name| table.numbers(name));
    let compared = table.numbers_if_there("compared")?;
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    let row = |(i, subject): (usize, Subject)| {
        Some(Row {
            setting: subject.setting,
            group_size: sizes[i]? as u32,
            pair: (a[i].clone(), b[i].clone()),
            compared: compared[i],
            values: std::array::from_fn(|column| columns[column][i]),
        })
    };
    Ok(subjects(table, &["group_size"])?.into_iter().enumerate().filter_map(row).collect())
}
