//! Rows of tables as figures need them.

use crate::Error;
use crate::condition::{ANY, GROUP_SIZE, estimate_name, setting_name};
use crate::table::ReadTable;

/// One row of the `scores` table.
#[derive(Clone, Debug)]
pub(super) struct ScoreRow {
    pub(super) setting: String,
    pub(super) aggregator: String,
    pub(super) group_size: u32,
    pub(super) score: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) is_bound: bool,
    pub(super) prompts: u32,
    pub(super) seeds: u32,
    /// The share of wanted scores that are there.
    pub(super) coverage: f64,
    pub(super) grader: String,
}

/// What a row of a table is about, from the columns before `end`.
pub(super) struct Subject {
    /// Benchmark and other axes.
    pub(super) setting: String,
    /// The aggregator with what varies about it.
    pub(super) aggregator: String,
    /// The reward, where rows differ in it.
    reward: Option<String>,
    pub(super) group_size: Option<u32>,
}

pub(super) fn subjects(table: &ReadTable, end: &str) -> Result<Vec<Subject>, Error> {
    let header = table.header();
    let keys: Vec<&String> = header.iter().take_while(|name| *name != end).collect();
    let columns = keys.iter().map(|key| table.texts(key)).collect::<Result<Vec<_>, _>>()?;
    let height = columns.first().map_or(0, Vec::len);
    let subject = |row: usize| {
        let identity: Vec<(String, String)> = keys
            .iter()
            .zip(&columns)
            .map(|(key, column)| ((*key).clone(), column[row].clone()))
            .collect();
        let group_size = identity.iter().find(|(key, _)| key == GROUP_SIZE);
        let reward = identity.iter().find(|(key, value)| key == "reward" && value != ANY);
        Subject {
            setting: setting_name(&identity),
            aggregator: estimate_name(&identity),
            reward: reward.map(|(_, reward)| reward.clone()),
            group_size: group_size.and_then(|(_, value)| value.parse().ok()),
        }
    };
    Ok((0..height).map(subject).collect())
}

pub(super) fn read_scores(table: &ReadTable) -> Result<Vec<ScoreRow>, Error> {
    let texts = |name| table.texts(name);
    let (standing, grader) = (texts("standing")?, texts("grader")?);
    let (mean, low, high) =
        (table.numbers("score")?, table.numbers("low")?, table.numbers("high")?);
    let (prompts, seeds) = (table.numbers("prompts")?, table.numbers("seeds")?);
    let coverage = table.numbers("coverage")?;
    let mut subjects = subjects(table, "score")?;
    let key = |subject: &Subject| {
        (subject.setting.clone(), subject.aggregator.clone(), subject.group_size)
    };
    let keys: Vec<_> = subjects.iter().map(key).collect();
    for (subject, key) in subjects.iter_mut().zip(&keys) {
        // Rows that differ in their reward alone are of policies that were trained on it.
        let is_alone = keys.iter().filter(|other| *other == key).count() == 1;
        if let (false, Some(reward)) = (is_alone, &subject.reward) {
            subject.aggregator.push_str(&format!(", {reward}"));
        }
    }
    let row = |(i, subject): (usize, Subject)| {
        let score = mean[i]?;
        Some(ScoreRow {
            setting: subject.setting,
            aggregator: subject.aggregator,
            group_size: subject.group_size?,
            score,
            low: low[i].unwrap_or(score),
            high: high[i].unwrap_or(score),
            is_bound: standing[i] == "upper bound",
            prompts: prompts[i]? as u32,
            seeds: seeds[i]? as u32,
            coverage: coverage[i]?,
            grader: grader[i].clone(),
        })
    };
    Ok(subjects.into_iter().enumerate().filter_map(row).collect())
}

/// The line under a figure of scores: how much went in, and how it was graded.
pub(super) fn footer(rows: &[ScoreRow]) -> String {
    let Some(row) = rows.first() else { return String::new() };
    let seeds = if row.seeds == 1 { "seed" } else { "seeds" };
    format!(
        "{} prompts, {} {seeds}, grader {}, 95 % intervals over prompts",
        row.prompts, row.seeds, row.grader
    )
}
