//! Separation of right rollouts from wrong ones by each reward, by aggregator, at the largest
//! group size: the area under the ROC curve within groups, or for rubrics the correlation of reward
//! and score within groups.

use std::path::Path;

use super::bars::{Bar, Bars};
use super::canvas::{Figure, Sheet, Words};
use super::score_rows::{Subject, by_setting, subjects};
use crate::Error;
use crate::condition::ANY;
use crate::file::file_name;
use crate::label::rewarded_label;
use crate::number::format_number;
use crate::table::ReadTable;

struct Row {
    setting: String,
    group_size: u32,
    aggregator: String,
    reward: String,
    value: f64,
    low: f64,
    high: f64,
    is_bound: bool,
    groups: u64,
}

impl Row {
    fn numbers(&self) -> (f64, f64, f64, u64) {
        (self.value, self.low, self.high, self.groups)
    }
}

/// A table with the columns that hold the number.
struct Source {
    table: &'static str,
    column: &'static str,
    axis: &'static str,
    origin: f64,
    shown: (f64, f64),
    /// The groups that have a value.
    groups: &'static str,
}

const SOURCES: [Source; 2] = [
    Source {
        table: "audit",
        column: "group_auc",
        axis: "AUC of the reward against correctness, within groups",
        origin: 0.5,
        shown: (0.4, 1.0),
        groups: "groups with right and wrong rollouts",
    },
    Source {
        table: "reward_correlation",
        column: "group_correlation",
        axis: "correlation of reward and score, within groups",
        origin: 0.0,
        shown: (-0.1, 1.0),
        groups: "groups whose rollouts differ in both reward and score",
    },
];

pub(super) fn draw(tables: &Path, sheet: &Sheet<'_>) -> Result<Vec<Figure>, Error> {
    let mut drawn = Vec::new();
    for source in &SOURCES {
        let Some(table) = ReadTable::read_if_there(tables, source.table)? else { continue };
        for (setting, rows) in by_setting(read(&table, source)?, |row| &row.setting) {
            let largest = rows.iter().map(|row| row.group_size).max().unwrap_or(1);
            let rows: Vec<_> = rows.into_iter().filter(|row| row.group_size == largest).collect();
            drawn.extend(draw_one(&setting, largest, &rows, source, sheet)?);
        }
    }
    Ok(drawn)
}

fn read(table: &ReadTable, source: &Source) -> Result<Vec<Row>, Error> {
    let rewards = table.texts_if_there("reward")?;
    let bounds = table.texts_if_there("sees_labels")?;
    let values = table.numbers_if_there(source.column)?;
    let lows = table.numbers_if_there(&format!("{}_low", source.column))?;
    let highs = table.numbers_if_there(&format!("{}_high", source.column))?;
    let groups = table.numbers_if_there("mixed_groups")?;
    let row = |(i, subject): (usize, Subject)| {
        let value = values[i]?;
        Some(Row {
            setting: subject.setting,
            group_size: subject.group_size?,
            aggregator: subject.aggregator,
            reward: rewards[i].clone(),
            value,
            low: lows[i].unwrap_or(value),
            high: highs[i].unwrap_or(value),
            is_bound: !bounds[i].is_empty(),
            groups: groups[i].unwrap_or(0.0) as u64,
        })
    };
    Ok(subjects(table, &["sees_labels", "label_accuracy", "reward_accuracy", "correlation"])?
        .into_iter()
        .enumerate()
        .filter_map(row)
        .collect())
}

fn draw_one(
    setting: &str,
    group_size: u32,
    rows: &[Row],
    source: &Source,
    sheet: &Sheet<'_>,
) -> Result<Option<Figure>, Error> {
    let mut rewards: Vec<&String> = Vec::new();
    let mut bars = Vec::new();
    for row in rows {
        // A reward that is the same for every aggregator needs one bar.
        let same = |other: &&Row| other.reward == row.reward;
        let all_equal = rows.iter().filter(same).all(|other| other.numbers() == row.numbers());
        if !rewards.contains(&&row.reward) {
            rewards.push(&row.reward);
        } else if all_equal {
            continue;
        }
        let is_alone = rows.iter().filter(same).count() == 1;
        let is_of_all = row.aggregator == ANY || (all_equal && !is_alone);
        let aggregator = if is_of_all { "" } else { &row.aggregator };
        bars.push(Bar {
            name: rewarded_label(aggregator, &row.reward),
            value: row.value,
            low: row.low,
            high: row.high,
            text: format!("{} ({})", format_number(row.value), row.groups),
            // A colour for each reward.
            label: rewarded_label("", &row.reward),
            is_bound: row.is_bound,
        });
    }
    let kind = if source.table == "audit" { "reward-auc" } else { "reward-correlation" };
    let words = Words {
        name: format!("{kind}-{}", file_name(setting)),
        title: format!("Which reward tells right from wrong on {setting}?"),
        caption: format!(
            "Rewards of groups of {group_size} rollouts. Grey: an upper bound that sees labels."
        ),
        footer: format!("(n) {}; 95% intervals over prompts, if there are enough", source.groups),
    };
    let Source { axis, origin, shown, .. } = *source;
    Bars { words, axis, text: "value (n)", origin, shown, bars }.save(sheet)
}
